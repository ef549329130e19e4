"""The texts of the page in a language. The English ones are in the code and in the templates.

`zh.yaml` has the others: the Chinese text of each English one. Both are format strings with named
values, such as `%(rows)s`; a percent sign is written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tasks.report.formatting import count

CHINESE_TEXTS = Path(__file__).with_name("zh.yaml")
COUNTED = "%(count)s {}"
NOUNS = (
    *("row", "question", "reference question", "other question", "reject", "shard", "token"),
    *("attempt", "character", "group", "run"),
)
WORDS = (
    *map(COUNTED.format, NOUNS),
    *("made", "reused", "failed", "left out", "missing"),
    *("completed", "suspect", "partial", "running", "killed", "unfinished", "interrupted"),
    *("Lowest score", "Highest score", "Lowest BLEU", "Highest BLEU"),
    *("Run", "Inputs", "Checkpoints", "Versions", "Scores"),
)
"""Texts not written out where they are used: counts, states, rankings, parts of the lineage."""


@dataclass(frozen=True)
class Texts:
    """The texts in the language with a code; English ones that are not in the table stay so."""

    code: str = "en"
    table: Mapping[str, str] = field(default_factory=dict)

    def find(self, text: str) -> str:
        """Return the text for an English one, a format string."""
        return self.table.get(text, text)

    def __call__(self, text: str, **values: object) -> str:
        """Return the text for an English one, with its values."""
        return self.find(text) % values

    def plural(self, number: float, noun: str) -> str:
        """Return a number and a noun; in English, it gets an s unless the number is 1."""
        text = COUNTED.format(noun)
        end = "" if number == 1 or text in self.table else "s"
        return self(text, count=count(number)) + end

    def moment(self, iso: str) -> str:
        """Return an ISO 8601 time as a date and a time of day in UTC."""
        when = datetime.fromisoformat(iso).astimezone(UTC)
        names = {"day": when.day, "month": f"{when:%B}", "number": when.month, "year": when.year}
        return self("%(day)s %(month)s %(year)s, %(time)s UTC", time=f"{when:%H:%M}", **names)


ENGLISH = Texts()


def read_chinese() -> Texts:
    """Return the Chinese texts."""
    return Texts("zh-CN", yaml.safe_load(CHINESE_TEXTS.read_text(encoding="utf-8")))
