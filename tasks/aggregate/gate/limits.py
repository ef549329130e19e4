"""What a run is like, in shares and a mean, and which limits of the config it breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.config.settings import QualitySettings
from tasks.load.rules import is_above

REJECTS, SCORE = "rejects", "score_per_token"
NAMES = {SCORE: "the mean score per token"}
"""What is measured beside the flags (`tasks.quality.flags.FLAGS`), and its name if it has one."""

KEEP, DROPPED = "keep", "dropped"
"""The key of the section `aggregate` that leaves no question, and what it did with them."""

LIMITS = {"max_unfinished": "unfinished", "max_duplicates": "duplicate", "max_rejects": REJECTS}
"""What the limits in numbers of rows are about."""


@dataclass(frozen=True)
class Share:
    """`count` of `rows`."""

    count: int
    rows: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Mean:
    """The mean of a number of `rows` rows, and its standard deviation from row to row."""

    value: float
    deviation: float
    rows: int


@dataclass(frozen=True)
class Level:
    """What a run is like: the shares of its flags and rejects, and its mean score per token.

    Questions that `aggregate.keep` drops count as questions, not as rejects.
    `score` is None if the engine gives no scores.
    """

    shares: Mapping[str, Share]
    score: Mean | None

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Level | None:
        """Return the level of a run by its metrics; None if an older version judged nothing."""
        quality, missing = metrics.get("quality"), metrics.get("rows_missing", 0)
        if quality is None or metrics.get("rows_in") is None or metrics.get(REJECTS) is None:
            return None
        flags = {name: Share(count, quality["rows"]) for name, count in quality["flags"].items()}
        unusable = metrics[REJECTS] - missing - metrics.get("rows_dropped", 0)
        rejects = Share(unusable, metrics["rows_in"] - missing)
        mean, deviation = quality["means"].get(SCORE), quality.get("score_deviation")
        is_known = mean is not None and deviation is not None
        score = Mean(mean, deviation, quality["rows"]) if is_known else None
        return cls({**flags, REJECTS: rejects}, score)


@dataclass(frozen=True)
class Breach:
    """A limit that a run breaks, with the numbers that do it.

    Attributes:
        key: of the section `quality`; or `KEEP`.
        measure: a flag, `rejects` or `score_per_token`; or `DROPPED`.
        value: a share, 0 to 1, or the mean score.
        limit: the value of the key.
        count: the number of rows of a share; None for the score.
        rows: the number of all rows.
        before: the value in the run that this one is compared with; None if it is not compared.
        p_value: how probable such a difference is by chance; None likewise.
    """

    key: str
    measure: str
    value: float
    limit: float
    count: int | None = None
    rows: int | None = None
    before: float | None = None
    p_value: float | None = None

    def __str__(self) -> str:
        """Return the breach in words, without the run that this one is compared with."""
        value = self._show(self.value)
        if self.count is not None:
            value = f"{self.count} of {self.rows} ({value})"
        if self.before is not None:
            value = f"{value}, before {self._show(self.before)} (p = {self.p_value:.1g})"
        if self.key == KEEP:
            return f"{self.measure} {value}; aggregate.{self.key} leaves no question"
        name = NAMES.get(self.measure, self.measure)
        unit = " rows" if self.key in LIMITS and self.limit >= 1 else ""
        return f"{name} {value}; quality.{self.key} is {self.limit:.10g}{unit}"

    def _show(self, value: float) -> str:
        return f"{value:.4f}" if self.count is None else f"{100 * value:.1f} %"


def find_breaches(limits: QualitySettings, level: Level) -> Iterator[Breach]:
    """Yield the limits that a run breaks by itself, without regard to another run."""
    for key, measure in LIMITS.items():
        limit, share = getattr(limits, key), level.shares[measure]
        if is_above(limit, share.count, share.rows):
            yield Breach(key, measure, share.value, limit, share.count, share.rows)
    lowest, score = limits.min_mean_score, level.score
    if lowest is not None and score is not None and score.value < lowest:
        yield Breach("min_mean_score", SCORE, score.value, lowest)


def find_emptiness(metrics: Mapping[str, Any]) -> Iterator[Breach]:
    """Yield whether `aggregate.keep` dropped every question of a run: no config wants that."""
    dropped = metrics.get("rows_dropped", 0)
    if dropped and not metrics["predictions"]:
        yield Breach(KEEP, DROPPED, 1.0, 1.0, dropped, dropped)
