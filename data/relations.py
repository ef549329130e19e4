"""The meaning of the fact tables: statements and a question for every column.

The wordings are in ``relations.json``, in the order in which the passages are drawn. A statement
has two placeholders, ``{s}`` for the subject and ``{v}`` for the value, and begins with ``{s}``, so
that the subject can be replaced by a pronoun or left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Relation:
    """One column of a fact table: its question and the ways to state the fact."""

    column: str
    question: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One file in ``facts/``; ``shown`` is how its subjects are written in running text."""

    name: str
    pronoun: str
    relations: tuple[Relation, ...]
    shown: str


def _read_table(entry: dict[str, Any]) -> Table:
    relations = tuple(
        Relation(relation["column"], relation["question"], tuple(relation["statements"]))
        for relation in entry["relations"]
    )
    return Table(entry["name"], entry["pronoun"], relations, entry["shown"])


_WORDINGS = Path(__file__).with_name("relations.json").read_text(encoding="utf-8")
TABLES: tuple[Table, ...] = tuple(_read_table(entry) for entry in json.loads(_WORDINGS))
