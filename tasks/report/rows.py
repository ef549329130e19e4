"""The rows of a run as its report shows them: numbers of all rows, and the text of some.

The file is read several times, each time only the necessary columns; only the text that is shown is
kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.evaluation.scores import sentence_bleu
from tasks.report.charts import Values
from tasks.store.parted.places import read_places
from tasks.store.tables import ROWS_AT_A_TIME, read_batches, read_schema, spaced

MOST_SAMPLES = 1000
MOST_CHARACTERS = 500_000  # of all samples together, so that a report has at most 3 MB
MOST_SCORED = 20_000  # rows with a sentence BLEU
EXTREMES = 10
LONGEST_TEXT = 2000  # characters of a passage, and of any other text
MOST_ALTERNATIVES = 4


@dataclass(frozen=True)
class Excerpt:
    """A passage, cut around its answer if it contains it; `omitted` characters are left out."""

    before: str
    answer: str
    after: str
    omitted: int


@dataclass(frozen=True)
class SampleRow:
    """A row to show, with shortened text.

    `score` is None if the engine returns none, `bleu` if it was not computed, `cut` if nothing was
    cut off (or an older version did not note it).
    """

    row: int
    id: str
    passage: Excerpt
    answer: str
    question: str
    reference: str | None
    score: float | None
    bleu: float | None
    cut: str | None
    alternatives: list[dict[str, Any]]
    more_alternatives: int


@dataclass(frozen=True)
class RowValues:
    """Numbers of every row, in order, float64 [rows]; lengths are in characters.

    Attributes:
        scores: of the search, NaN if the engine returns none.
        questions: lengths of the questions.
        passages: lengths of the passages.
        references: lengths of the references, NaN where there is none.
        bleus: sentence BLEU, 0 to 100, NaN where it was not computed.
        bleu_signature: how it was computed; None if there are no references.
        identical: the number of questions that equal their reference.
    """

    scores: Values
    questions: Values
    passages: Values
    references: Values
    bleus: Values
    bleu_signature: str | None
    identical: int

    @property
    def has_scores(self) -> bool:
        """Whether any question has a score."""
        return bool((~np.isnan(self.scores)).any())

    @property
    def empty(self) -> int:
        """The number of empty questions."""
        return int(np.count_nonzero(self.questions == 0))

    @property
    def scored(self) -> int:
        """The number of questions with a BLEU."""
        return int(np.count_nonzero(~np.isnan(self.bleus)))


@dataclass(frozen=True)
class ReportRows:
    """The rows of a run: numbers of all rows, evenly spaced samples, and rankings by name."""

    values: RowValues
    samples: list[SampleRow]
    rankings: Mapping[str, list[SampleRow]]


def read_report_rows(path: PurePath) -> ReportRows:
    """Return the rows of a run's predictions.

    Raises:
        StoreCorruptionError: the file cannot be read completely.
    """
    values = _read_values(path)
    samples = _place_samples(values.passages, values.questions, values.references)
    rankings = {name: list(ranking) for name, ranking in _rank(values)}
    wanted = sorted({*samples, *(at for ranking in rankings.values() for at in ranking)})
    names = ["row", "id", "context", "answer", "reference", "question", "alternatives", "cut"]
    names = [name for name in read_schema(path).names if name in names]  # older files have no `cut`
    records = zip(wanted, read_places(path, wanted, names), strict=True)
    rows = {at: _make_row(record, values, at) for at, record in records}
    picked = {name: [rows[at] for at in ranking] for name, ranking in rankings.items()}
    return ReportRows(values, [rows[at] for at in samples], picked)


def cut_passage(context: str, answer: str, longest: int = LONGEST_TEXT) -> Excerpt:
    """Return at most `longest` characters of a passage around its answer, where that is first."""
    found = answer if answer in context else ""
    at = context.find(found)
    start = max(0, min(at - longest // 2, len(context) - longest))
    stop = min(start + longest, len(context))
    marked = context[at : min(at + len(found), stop)]
    return Excerpt(
        before=("…" if start else "") + context[start:at],
        answer=marked,
        after=context[at + len(marked) : stop] + ("…" if stop < len(context) else ""),
        omitted=len(context) - (stop - start),
    )


def _read_values(path: PurePath) -> RowValues:
    pieces: list[dict[str, Values]] = []
    identical = 0
    names = ["context", "reference", "question", "score"]
    for batch in read_batches(path, names, ROWS_AT_A_TIME):
        texts = {name: batch[name] for name in ("context", "reference", "question")}
        lengths = {name: _as_array(pc.utf8_length(column)) for name, column in texts.items()}
        pieces.append({**lengths, "score": _as_array(batch["score"])})
        identical += pc.sum(pc.equal(batch["question"], batch["reference"])).as_py() or 0
    columns = {
        # `pop`, so that only one column is in memory twice
        name: np.concatenate([np.empty(0), *(piece.pop(name) for piece in pieces)])
        for name in names
    }
    shown = (columns[name] for name in ("context", "question", "reference"))
    samples = _place_samples(*shown)
    bleus, signature = _score(path, ~np.isnan(columns["reference"]), np.array(samples, np.int64))
    return RowValues(
        scores=columns["score"],
        questions=columns["question"],
        passages=columns["context"],
        references=columns["reference"],
        bleus=bleus,
        bleu_signature=signature,
        identical=identical,
    )


def _as_array(column: pa.Array) -> Values:
    """Return a column as float64, with NaN for null."""
    array: Values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def _place_samples(*texts: Values) -> list[int]:
    """Return the places of the samples, evenly spaced; fewer than `MOST_SAMPLES` of long texts.

    `texts` are the lengths of the texts of each row.
    """
    rows = texts[0].size
    shown = sum(float(np.nan_to_num(np.minimum(text, LONGEST_TEXT)).sum()) for text in texts)
    return spaced(rows, min(MOST_SAMPLES, int(MOST_CHARACTERS * rows / max(shown, 1))))


def _score(
    path: PurePath, has_reference: NDArray[np.bool_], samples: NDArray[np.int64]
) -> tuple[Values, str | None]:
    """Return the BLEU of the samples and of other evenly spaced rows, and its signature."""
    bleus = np.full(has_reference.size, np.nan)
    if not has_reference.any():
        return bleus, None
    samples = samples[has_reference[samples]]
    others = np.setdiff1d(np.flatnonzero(has_reference), samples)
    others = others[spaced(others.size, MOST_SCORED - samples.size)]
    places = np.union1d(samples, others)
    records = read_places(path, places.tolist(), ["reference", "question"])
    bleus[places], signature = sentence_bleu(
        [(record["question"], record["reference"]) for record in records]
    )
    return bleus, signature


def _rank(rows: RowValues) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the places of the worst and the best rows by name; ties are in input order."""
    for name, values in (("score", rows.scores), ("bleu", rows.bleus)):
        places = np.flatnonzero(~np.isnan(values))
        for end, sign in (("lowest", 1), ("highest", -1)):
            order = np.argsort(sign * values[places], kind="stable")
            yield f"{end} {name}", places[order[:EXTREMES]].tolist()


def _make_row(record: Mapping[str, Any], values: RowValues, at: int) -> SampleRow:
    others, reference = record["alternatives"], record["reference"]
    return SampleRow(
        row=record["row"],
        id=_cut(record["id"]),
        passage=cut_passage(record["context"], record["answer"]),
        answer=_cut(record["answer"]),
        question=_cut(record["question"]),
        reference=None if reference is None else _cut(reference),
        score=_or_none(values.scores[at]),
        bleu=_or_none(values.bleus[at]),
        cut=record.get("cut"),
        alternatives=[
            {**other, "question": _cut(other["question"])} for other in others[:MOST_ALTERNATIVES]
        ],
        more_alternatives=max(0, len(others) - MOST_ALTERNATIVES),
    )


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
