"""Replace the names in a passage, so that a model in training has to read instead of recall.

The resulting statements are false. They are used in training only and never written to a file.
"""

import random
import re
import string
from collections.abc import Sequence

from make_passages import Fact, Passage

KEEP_SUBJECT = 0.2
KEEP_VALUE = 0.5
KEEP_LAST = 0.8  # the last character often names the kind of thing: 山, 河, 湖, 大学
INVENT_VALUE = 0.3
MANY_VALUES = 30  # relations with fewer different values hold kinds rather than names


class Disguise:
    """Makes up names out of ``characters`` and swaps values between facts."""

    def __init__(self, facts: Sequence[Fact], characters: Sequence[str]) -> None:
        self.rare = characters
        names = "".join(fact.subject + fact.value for fact in facts)
        self.usual = [character for character in names if _is_chinese(character)]
        self.values: dict[str, list[str]] = {}
        for fact in facts:
            self.values.setdefault(_key(fact), []).append(fact.value)

    def apply(self, passage: Passage, rng: random.Random) -> tuple[str, str, str]:
        """Return context, answer and question with the same new names in all three."""
        new: dict[str, str] = {}
        for fact in passage.facts:
            if fact.value not in new:
                new[fact.value] = self._new_value(fact, rng)
            if fact.subject not in new:
                new[fact.subject] = self._new_subject(fact.subject, rng)
        pattern = re.compile("|".join(map(re.escape, sorted(new, key=len, reverse=True))))

        def replace_names(text: str) -> str:
            return pattern.sub(lambda match: new[match[0]], text)

        question = passage.target.relation.question.format(
            s=passage.target.table.shown.format(s=new[passage.target.subject])
        )
        return replace_names(passage.context), new[passage.target.value], question

    def _new_subject(self, subject: str, rng: random.Random) -> str:
        if rng.random() < KEEP_SUBJECT:
            return subject
        kept = subject[-1] if len(subject) > 1 and rng.random() < KEEP_LAST else ""
        head = self._invent(subject[: len(subject) - len(kept)], rng)
        if len(head) > 1 and rng.random() < 0.3:
            place = rng.randrange(len(head))
            head = head[:place] + head[place + 1 :] if rng.random() < 0.5 else head + head[place]
        return head + kept

    def _new_value(self, fact: Fact, rng: random.Random) -> str:
        if rng.random() < KEEP_VALUE:
            return fact.value
        others = self.values[_key(fact)]
        if fact.value[-1].isdigit() or (
            len(set(others)) >= MANY_VALUES and rng.random() < INVENT_VALUE
        ):
            return self._invent(fact.value, rng)
        return rng.choice(others)

    def _invent(self, name: str, rng: random.Random) -> str:
        """Return a random string with Chinese, digits and letters where ``name`` has them."""
        return "".join(self._other(character, rng) for character in name)

    def _other(self, character: str, rng: random.Random) -> str:
        if _is_chinese(character):
            return rng.choice(self.usual if rng.random() < 0.5 else self.rare)
        if character.isdigit():
            return rng.choice(string.digits)
        if character.isascii() and character.isalpha():
            return rng.choice(string.ascii_lowercase)
        return character


def _key(fact: Fact) -> str:
    return f"{fact.table.name} {fact.relation.column}"


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
