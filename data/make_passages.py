"""Make ``passages/train.jsonl`` and ``passages/heldout.jsonl`` from the tables in ``facts/``.

Run it as ``python data/make_passages.py``. The bytes of the files are the same every time.
"""

import csv
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from relations import TABLES, Relation, Table

DATA = Path(__file__).resolve().parent
SEED = 20240601
TRAIN_ROWS = 2400
HELDOUT_ROWS = 300
HELDOUT_SHARE = 0.16
MIN_LENGTH, MAX_LENGTH = 20, 400
MAX_TRIES = 500
MAX_QUESTION = 16  # with "问题：" before it and an end mark after it, 20 tokens

OPENERS = (
    "下面是一些常识。",
    "这里整理了几条资料。",
    "请看下面的介绍。",
    "以下内容摘自学习笔记。",
    "有些知识值得记住。",
)
REMARKS = (
    "这些内容在考试中经常出现。",
    "很多人对此很感兴趣。",
    "这一点常常被人提起。",
    "感兴趣的读者可以进一步查阅资料。",
    "相关的故事流传很广。",
)

Row = dict[str, str]


@dataclass(frozen=True)
class Fact:
    """One cell of a table: the value of ``relation`` for ``subject``."""

    table: Table
    relation: Relation
    subject: str
    value: str

    @property
    def shown(self) -> str:
        """The subject as it is written in a text, for instance in book-title marks."""
        return self.table.shown.format(s=self.subject)

    @property
    def question(self) -> str:
        """The question whose answer is ``value``."""
        return self.relation.question.format(s=self.shown)


@dataclass(frozen=True)
class Passage:
    """A text, the fact that the question asks for, and all facts that the text states."""

    context: str
    target: Fact
    facts: tuple[Fact, ...]


def read_facts() -> list[Fact]:
    """Return all facts whose question is short enough and does not contain the answer."""
    facts = []
    for table in TABLES:
        path = DATA / "facts" / f"{table.name}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                for relation in table.relations:
                    if line[relation.column]:
                        facts.append(Fact(table, relation, line["名称"], line[relation.column]))
    return [
        fact
        for fact in facts
        if len(fact.question) <= MAX_QUESTION and fact.value not in fact.question
    ]


def split_facts(facts: Sequence[Fact]) -> tuple[list[Fact], list[Fact]]:
    """Return training and held-out facts; no training question names a held-out subject."""
    rng = random.Random(SEED)
    names: set[str] = set()
    for table in TABLES:
        subjects = list(dict.fromkeys(fact.subject for fact in facts if fact.table is table))
        usable = [subject for subject in subjects if len(subject) > 1]
        names.update(rng.sample(usable, max(3, round(len(subjects) * HELDOUT_SHARE))))
    heldout = [fact for fact in facts if fact.subject in names]
    train = [fact for fact in facts if not any(name in fact.question for name in names)]
    return train, heldout


def occurrences(value: str, text: str) -> int:
    """Count ``value`` in ``text``, except within longer numbers or words."""
    before = "(?<![0-9A-Za-z.])" if value[0].isascii() else ""
    after = "(?![0-9A-Za-z.])" if value[-1].isascii() else ""
    return len(re.findall(before + re.escape(value) + after, text))


def state(fact: Fact, subject: str, rng: random.Random) -> str:
    """Return a statement of the fact; an empty ``subject`` leaves the subject out."""
    statement = rng.choice(fact.relation.statements)
    if not subject:
        statement = statement.removeprefix("{s}的").removeprefix("{s}")
    return statement.format(s=subject, v=fact.value)


def paragraph(facts: Sequence[Fact], rng: random.Random) -> str:
    """Return a few sentences about the one subject that all ``facts`` share."""
    text = state(facts[0], facts[0].shown, rng)
    for fact in facts[1:]:
        style = rng.randrange(3)
        if style == 0:
            text += "，" + state(fact, "", rng)
        else:
            text += "。" + state(fact, fact.shown if style == 1 else fact.table.pronoun, rng)
    return text + "。"


class Composer:
    """Draws passages from a fixed set of facts."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self.groups: dict[tuple[str, str], list[Fact]] = {}
        for fact in facts:
            self.groups.setdefault((fact.table.name, fact.subject), []).append(fact)
        self.by_table: dict[str, list[list[Fact]]] = {}
        for (table, _), group in self.groups.items():
            self.by_table.setdefault(table, []).append(group)
        self.all_groups = list(self.groups.values())

    def compose(self, target: Fact, length: int, rng: random.Random) -> Passage:
        """Return a passage of about ``length`` characters in which the answer occurs once.

        Raises:
            ValueError: no such passage was found.
        """
        for _ in range(MAX_TRIES):
            passage = self._draft(target, length, rng)
            unique = occurrences(target.value, passage.context) == 1
            if unique and MIN_LENGTH <= len(passage.context) <= MAX_LENGTH:
                return passage
        raise ValueError(f"no passage found for {target.question}")

    def _draft(self, target: Fact, length: int, rng: random.Random) -> Passage:
        facts = self._about(target, rng)
        parts = [paragraph(facts, rng)]
        seen = {target.subject}
        size = len(parts[0])
        while size < length - 8:
            others = self._distractors(target, rng)
            text = paragraph(others, rng)
            size += 1  # so that the loop ends even if nothing fits
            if others[0].subject in seen or target.value in text or target.subject in text:
                continue
            seen.add(others[0].subject)
            parts.append(text)
            facts.extend(others)
            size += len(text)
        rng.shuffle(parts)
        return Passage(self._framed("".join(parts), length, rng), target, tuple(facts))

    def _about(self, target: Fact, rng: random.Random) -> list[Fact]:
        """Return the target and some of the other facts about its subject, in random order."""
        group = self.groups[(target.table.name, target.subject)]
        facts = [fact for fact in group if fact is target or rng.random() < 0.6]
        rng.shuffle(facts)
        return facts

    def _distractors(self, target: Fact, rng: random.Random) -> list[Fact]:
        """Return facts about one other subject, in most cases from the same table."""
        same = self.by_table[target.table.name]
        group = rng.choice(same if rng.random() < 0.65 else self.all_groups)
        return rng.sample(group, rng.randint(1, len(group)))

    @staticmethod
    def _framed(text: str, length: int, rng: random.Random) -> str:
        """Return the text with an opening or closing sentence if there is room for one."""
        if len(text) + 12 < length and rng.random() < 0.6:
            text = rng.choice(OPENERS) + text
        if len(text) + 16 < length or len(text) < MIN_LENGTH:
            text += rng.choice(REMARKS)
        return text


def draw_targets(facts: Sequence[Fact], count: int, rng: random.Random) -> list[Fact]:
    """Return ``count`` facts in random order; none is repeated before all were drawn once.

    Each relation occurs at least once if ``count`` allows it.
    """
    shuffled = rng.sample(list(facts), len(facts))
    firsts = list({fact.relation.question + fact.table.name: fact for fact in shuffled}.values())
    rest = [fact for fact in shuffled if fact not in firsts]
    targets = firsts + rest
    while len(targets) < count:
        targets += rng.sample(list(facts), len(facts))
    targets = targets[:count]
    rng.shuffle(targets)
    return targets


def make_rows(
    prefix: str, targets: Iterable[Fact], composer: Composer, rng: random.Random
) -> list[Row]:
    """Return one row per target, with lengths spread over the allowed range."""
    rows = []
    for number, target in enumerate(targets, start=1):
        passage = composer.compose(target, rng.randint(MIN_LENGTH, MAX_LENGTH - 20), rng)
        rows.append(
            {
                "context": passage.context,
                "answer": target.value,
                "question": target.question,
                "id": f"{prefix}-{number:05d}",
            }
        )
    return rows


def check_rows(train: Sequence[Row], heldout: Sequence[Row], names: Iterable[str]) -> None:
    """Check the guarantees of the data set; ``names`` are the held-out subjects.

    Raises:
        ValueError: a guarantee does not hold.
    """
    rows = [*train, *heldout]
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError("an id occurs twice")
    for row in rows:
        if row["answer"] not in row["context"]:
            raise ValueError(f"{row['id']}: the answer is not in the passage")
        if not MIN_LENGTH <= len(row["context"]) <= MAX_LENGTH:
            raise ValueError(f"{row['id']}: bad length {len(row['context'])}")
        if len(row["question"]) > MAX_QUESTION:
            raise ValueError(f"{row['id']}: the question is too long")
    for row in train:
        if any(name in row["question"] for name in names):
            raise ValueError(f"{row['id']}: asks about a held-out subject")


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def main() -> None:
    """Make both files."""
    rng = random.Random(SEED)
    facts = read_facts()
    train_facts, heldout_facts = split_facts(facts)
    targets = draw_targets(train_facts, TRAIN_ROWS, rng)
    train = make_rows("train", targets, Composer(train_facts), rng)
    targets = draw_targets(heldout_facts, HELDOUT_ROWS, rng)
    heldout = make_rows("heldout", targets, Composer(facts), rng)
    check_rows(train, heldout, {fact.subject for fact in heldout_facts})
    write_rows(DATA / "passages" / "train.jsonl", train)
    write_rows(DATA / "passages" / "heldout.jsonl", heldout)
    print(f"{len(facts)} facts, {len(train)} training rows, {len(heldout)} held-out rows")


if __name__ == "__main__":
    main()
