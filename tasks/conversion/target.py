"""The names of the formats."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """A format that the questions of a run can be converted to."""

    SQUAD = "squad"
    CSV = "csv"
    LABEL_STUDIO = "label-studio"
    ONE_PER_QUESTION = "one-per-question"
