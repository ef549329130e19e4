"""The runs of a config, oldest first: the main figures of each, and what was changed before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import StoreCorruptionError
from tasks.escaping import shorten
from tasks.plan.changes import find_keep_changes, find_option_changes
from tasks.quality.flags import SCORE
from tasks.runs.find import get_state, is_run_of, list_runs, read_record
from tasks.runs.metrics import read_metrics
from tasks.runs.record import RunRecord
from tasks.runs.state import RunState
from tasks.store.layout import Store

FIGURES = ("rows_in", "rows_dropped", "rows_made", "bleu_4", "rouge_l", "exact_match", "cost")
LONGEST_GROUP = 80  # characters of its name


@dataclass(frozen=True)
class RunFigures:
    """A run of a config, and its figures; None where they are unknown, as of a run that failed.

    Attributes:
        state: how it goes or how it ended.
        kind: what sets it apart from a night: `fake` (made-up questions), `limit` (only the first
            rows); empty for a night.
        rows_in: rows of its input.
        rejects: rows without a question, but for the dropped ones.
        rows_dropped: rows whose question `aggregate.keep` dropped.
        rows_made: rows that it generated.
        judged: questions, dropped ones included.
        flagged: questions with any flag.
        flags: questions with each flag; empty if they are unknown.
        score_per_token: the mean; None if the engine gives no scores.
        bleu_4: 0 to 100; None without references.
        rouge_l: likewise.
        exact_match: likewise.
        cost: None without a price.
        groups: of the groups of `aggregate.group_by` that are told one by one, by name, largest
            first: `rows`, `rejects`, `flagged_share` and `score_per_token`.
        changes: what changed of model, options and versions since the run before that has figures.
    """

    state: RunState
    kind: str = ""
    rows_in: int | None = None
    rejects: int | None = None
    rows_dropped: int | None = None
    rows_made: int | None = None
    judged: int | None = None
    flagged: int | None = None
    flags: Mapping[str, int] = field(default_factory=dict)
    score_per_token: float | None = None
    bleu_4: float | None = None
    rouge_l: float | None = None
    exact_match: float | None = None
    cost: float | None = None
    groups: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    @property
    def reject_share(self) -> float | None:
        """The share of rejects among the rows, 0 to 1."""
        return _share(self.rejects, self.rows_in)

    @property
    def flagged_share(self) -> float | None:
        """The share of the questions with any flag, 0 to 1."""
        return _share(self.flagged, self.judged)

    def flag_share(self, flag: str) -> float | None:
        """Return the share of the questions with a flag, 0 to 1."""
        return _share(self.flags.get(flag), self.judged)

    def group_share(self, group: str) -> float | None:
        """Return the share of the questions of a group with any flag, dropped ones included."""
        return self.groups.get(group, {}).get("flagged_share")

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types."""
        own = {name: value for name, value in vars(self).items() if name != "state"}
        return {**asdict(self.state), **own, "changes": list(self.changes)}


def read_history(store: Store, config: Path, most: int | None = None) -> list[RunFigures]:
    """Return the runs of a config file, oldest first; with `most`, only the newest ones.

    Runs whose run.json cannot be read are left out.
    """
    folders = [folder for folder in list_runs(store) if is_run_of(folder, config)]
    shown = folders if most is None else folders[-most - 1 :]  # one more, for its changes
    history, before = list[RunFigures](), None
    for folder in shown:
        with suppress(StoreCorruptionError):
            record, state, metrics = read_record(folder), get_state(folder), read_metrics(folder)
            changes = _find_changes(before, record)
            history.append(_figures(state, _name_kind(record), metrics, changes))
            before = record if metrics else before
    return history if most is None else history[-most:]


def _name_kind(record: RunRecord) -> str:
    return "fake" if record.is_made_up else "limit" if record.limit is not None else ""


def _figures(
    state: RunState, kind: str, metrics: Mapping[str, Any], changes: tuple[str, ...]
) -> RunFigures:
    quality, rejects = metrics.get("quality") or {}, metrics.get("rejects")
    dropped = metrics.get("rows_dropped", 0)
    return RunFigures(
        state,
        kind,
        **{name: metrics.get(name) for name in FIGURES},
        rejects=None if rejects is None else rejects - dropped,
        judged=quality.get("rows"),
        flagged=quality.get("flagged_rows"),
        flags=quality.get("flags", {}),
        score_per_token=quality.get("means", {}).get(SCORE),
        groups=_describe_groups(metrics.get("groups")),
        changes=changes,
    )


def _describe_groups(groups: Mapping[str, Any] | None) -> dict[str, dict[str, float | None]]:
    if groups is None:
        return {}
    return {
        name_group(groups["columns"], one["values"]): {
            "rows": one["rows"],
            "rejects": one["rejects"],
            # What is dropped had a flag.
            "flagged_share": _share(
                one["flagged_rows"] + one["rows_dropped"],
                one["predictions"] + one["rows_dropped"],
            ),
            SCORE: one[SCORE],
        }
        for one in groups["shown"]
    }


def name_group(columns: Sequence[str], values: Sequence[object]) -> str:
    """Return the name of a group of rows, such as `source=wiki, chapter=2`."""
    texts = ("null" if value is None else str(value) for value in values)
    pairs = (f"{name}={text}" for name, text in zip(columns, texts, strict=False))
    return shorten(", ".join(pairs), LONGEST_GROUP)


def list_groups(history: Sequence[RunFigures], most: int) -> list[str]:
    """Return the names of the largest groups of the newest run that has any, largest first."""
    newest = next((run.groups for run in reversed(history) if run.groups), {})
    return list(newest)[:most]


def _find_changes(before: RunRecord | None, now: RunRecord) -> tuple[str, ...]:
    if before is None or before.decided_by is None or now.decided_by is None:
        return ()
    options = find_option_changes(before.decided_by, now.decided_by)
    return *options, *find_keep_changes(before.config, now.config)


def _share(count: int | None, rows: int | None) -> float | None:
    return count / rows if count is not None and rows else None
