"""Which fields of a row are read: those that the config names, or else those with a known name.

The rule: `dataset.fields` names them. Otherwise, context and answer are `context` and `answer` if a
row has either of them, else `source` and `title`; the answers are `answers`, a list or SQuAD's
mapping, if a row has no field for one; the reference is `question`, or `target` if that has no
text; the id is `id`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from tasks.config.settings import FieldSettings

PAIRS = (("context", "answer"), ("source", "title"))
ANSWERS = "answers"
TEXT = "text"  # of each of several answers, where these are objects
REFERENCES = ("question", "target")
PROMPTS = ("prompt_common", "prompt_domain")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Fields:
    """The names of the fields to read.

    Attributes:
        pairs: names of context and answer; a row has those of the first pair that it has a part of.
        references: names of the reference question; the first one with text is read.
        id: name of the id.
        prompts: names of the two prompts that template 4 requires; empty for other templates.
        answers: name of several answers, read where a row has no field of one.
        named: the roles whose names are from the config: `context`, `answer`, `reference`, `id`.
    """

    pairs: tuple[Pair, ...] = PAIRS
    references: tuple[str, ...] = REFERENCES
    id: str = "id"
    prompts: tuple[()] | Pair = ()
    answers: str = ANSWERS
    named: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: FieldSettings | None, template: int) -> Self:
        """Return the fields to read with these settings; `template` is `dataset.template`."""
        given = {} if settings is None else settings.model_dump(exclude_none=True)
        pair = tuple(given.get(role, role) for role in PAIRS[0])
        return cls(
            pairs=((pair[0], pair[1]),) if given.keys() & set(PAIRS[0]) else PAIRS,
            references=(given["reference"],) if "reference" in given else REFERENCES,
            id=given.get("id", "id"),
            prompts=PROMPTS if template == 4 else (),
            named=frozenset(given),
        )

    def pair_in(self, names: Collection[str]) -> Pair:
        """Return the names of context and answer in a row, or a table, that has these fields."""
        context, answer = self.pairs[self.number_of_pair_in(names)]
        has_several = self.answers in names and "answer" not in self.named
        return context, self.answers if answer not in names and has_several else answer

    def number_of_pair_in(self, names: Collection[str]) -> int:
        """Return which of the pairs a row with these fields has."""
        has_part = (pair[0] in names or pair[1] in names for pair in self.pairs)
        return next((number for number, has in enumerate(has_part) if has), 0)

    @property
    def readable(self) -> set[str]:
        """The names of all fields that some row may be read from."""
        context_and_answer = {name for pair in self.pairs for name in pair}
        return {*context_and_answer, self.answers, *self.references, self.id, *self.prompts}

    def columns_of_folders(self, columns: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the columns of folders that rows may be read from.

        A folder `id=7` is not the id of all rows in it, unless the config names that column.
        """
        is_named = "id" in self.named
        return {name: value for name, value in columns.items() if is_named or name != self.id}

    def required_in(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the fields that a row with these fields needs."""
        return (*self.pair_in(names), *self.prompts)

    def wanted_in(self, names: Sequence[str]) -> list[str]:
        """Return the columns of a table that are read."""
        wanted = {*self.required_in(names), *self.references, self.id}
        return [name for name in names if name in wanted]

    def in_columns(self, columns: Sequence[str]) -> Self:
        """Return the same fields under the names that the columns of a table have.

        A name that no column has is that of the only column that differs from it in case, in
        spaces around it, or in characters that cannot be seen.
        """
        folded = Counter(map(_fold, columns))
        known = {_fold(column): column for column in columns if folded[_fold(column)] == 1}

        def actual(name: str) -> str:
            return name if name in columns else known.get(_fold(name), name)

        def both(pair: Pair) -> Pair:
            return actual(pair[0]), actual(pair[1])

        return replace(
            self,
            pairs=tuple(map(both, self.pairs)),
            references=tuple(map(actual, self.references)),
            id=actual(self.id),
            prompts=both(self.prompts) if self.prompts else (),
            answers=actual(self.answers),
        )

    def chosen_in(self, names: Collection[str]) -> dict[str, str]:
        """Return the name of the field that is read, by role, where rows have these fields."""
        context, answer = self.pair_in(names)
        references = [name for name in self.references if name in names]
        chosen = {"context": context, "answer": answer, "id": self.id}
        chosen |= {"reference": references[0]} if references else {}
        return {role: name for role, name in chosen.items() if name in names}

    def missing_in(self, names: Collection[str]) -> list[str]:
        """Return the fields that are required, or named in the config, and not among `names`."""
        roles = dict(zip(PAIRS[0], self.pair_in(names), strict=True))
        roles |= {"reference": self.references[0], "id": self.id}
        needed = [roles[role] for role in roles if role in self.named or role in PAIRS[0]]
        return [name for name in (*needed, *self.prompts) if name not in names]

    def passed_over_in(self, names: Collection[str]) -> list[str]:
        """Return the fields that could be read instead of the chosen ones."""
        chosen = self.pairs[self.number_of_pair_in(names)]
        pairs = [pair for pair in self.pairs if pair != chosen and set(pair) <= {*names}]
        references = [name for name in self.references if name in names]
        return [*(name for pair in pairs for name in pair), *references[1:]]

    def deviations(self, names: Collection[str], is_table: bool) -> dict[str, str]:
        """Return the choices that the names do not show, for the fingerprint.

        Stores hold datasets that were made when `source` and `title` came before `context` and
        `answer`, `target` came before `question`, and names had to be exact. Where that gives the
        same fields, nothing is returned, so that these datasets are reused. Rows of JSON can have
        different fields, so there every name from the config is returned.
        """
        pair = PAIRS[1] if set(PAIRS[1]) <= {*names} else PAIRS[0]
        before = Fields(pairs=(pair,), references=REFERENCES[::-1]).chosen_in(names)
        return {
            role: name
            for role, name in self.chosen_in(names).items()
            if name != before.get(role) or (role in self.named and not is_table)
        }


BY_NAME = Fields()


def _fold(name: str) -> str:
    """Return a name without case, width, surrounding spaces and invisible characters."""
    shown = (char for char in unicodedata.normalize("NFKC", name) if _is_visible(char))
    return "".join(shown).strip().casefold()


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf"}
