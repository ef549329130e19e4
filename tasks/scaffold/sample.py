"""A look at the user's data: which fields would be read, and how many rows would be rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from tasks.config.settings import DatasetSettings, FieldSettings
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.load.rules import describe_counts, describe_reject
from tasks.passages.fields import PAIRS, Fields
from tasks.passages.input import Input
from tasks.passages.layout import EncodingFault, Layout, NamesFault
from tasks.passages.reader import read_passages
from tasks.passages.records import Reject
from tasks.scaffold.columns import propose_fields

SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class Sample:
    """What the first rows of a file of passages are like.

    Attributes:
        names: the columns, or the fields of the first rows of JSON.
        fields: the proposed `dataset.fields`, as far as needed.
        encoding: the proposed `dataset.encoding`; None if none is needed.
        read: which fields are read, in words; empty if context and answer are not found.
        rows: how many rows were looked at.
        reasons: how many of them would be rejected, by reason.
        example: one of the rejected rows, in words.
    """

    names: tuple[str, ...]
    fields: Mapping[str, str]
    encoding: str | None = None
    read: str = ""
    rows: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    example: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether passage and answer are found."""
        return bool(self.read)

    def describe_rejects(self) -> str:
        """Return how many rows would be rejected and why."""
        looked_at = f"of the first {self.rows}" if self.rows >= SAMPLE_ROWS else f"of {self.rows}"
        if not self.reasons:
            return f"{looked_at}, none would be rejected"
        counts = f"{sum(self.reasons.values())} would be rejected: {describe_counts(self.reasons)}"
        return f"{looked_at}, {counts}, such as {self.example}"


def look_at(dataset: DatasetSettings) -> Sample:
    """Return what the first `SAMPLE_ROWS` rows of `predict_file` are like.

    Raises:
        InputError: it cannot be read, whatever the names of its fields are.
    """
    found = Input.of(dataset)
    if isinstance(found, EncodingFault) and found.guess is not None:
        dataset = dataset.model_copy(update={"encoding": found.guess})
        found = Input.of(dataset)
    if isinstance(found, NamesFault):
        proposed = propose_fields(found.names)
        if not set(PAIRS[0]) <= proposed.keys():
            return Sample(found.names, proposed, dataset.encoding)
    elif isinstance(found, Input):
        proposed = _propose_others(found.first)
    else:
        raise InputError(str(found))
    fields = FieldSettings(**proposed) if proposed else None
    return _read(dataset.model_copy(update={"fields": fields}), proposed)


def _propose_others(layout: Layout) -> dict[str, str]:
    """Return the reference and the id of rows whose context and answer are found without help."""
    chosen = Fields().in_columns(layout.names).chosen_in(layout.names)
    free = [name for name in layout.names if name not in chosen.values()]
    return {
        role: name
        for role, name in propose_fields(free).items()
        if role not in chosen and role not in PAIRS[0]
    }


def _read(dataset: DatasetSettings, proposed: Mapping[str, str]) -> Sample:
    found = Input.of(dataset)
    if not isinstance(found, Input):
        raise InputError(str(found) if isinstance(found, Finding) else "no file was named")
    rows = read_passages(
        found.given,
        dataset.template,
        dataset.encoding,
        dataset.fields,
        dataset.format,
        dataset.delimiter,
    )
    looked_at = list(islice(rows, SAMPLE_ROWS))
    rejects = [row for row in looked_at if isinstance(row, Reject)]
    return Sample(
        names=found.first.names,
        fields=proposed,
        encoding=dataset.encoding,
        read=found.describe(),
        rows=len(looked_at),
        reasons=Counter(reject.reason.value for reject in rejects),
        example=describe_reject(vars(rejects[0])) if rejects else "",
    )
