from __future__ import annotations

import re
from string import Formatter

from tasks.config.describe import ENGLISH
from tasks.config.reference import as_markdown, english_texts, read_chinese
from tests.support.rehearsal import ROOT

CHINESE = read_chinese()
WHAT_TO_DO = "see `texts` in tasks/config/reference.zh.yaml, then: make reference"


def test_the_configuration_page_is_that_of_the_models() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "renew it: make reference"


def test_every_section_and_key_has_a_chinese_text_and_nothing_else_has() -> None:
    without = [
        f"\n{name}:\n  en: {english}\n  zh: …"
        for name, english in english_texts().items()
        if name not in CHINESE.texts
    ]
    assert not without, f"add Chinese texts; {WHAT_TO_DO}:{''.join(without)}"
    others = [name for name in CHINESE.texts if name not in english_texts()]
    assert not others, f"take out the texts of {', '.join(others)}; {WHAT_TO_DO}"


def test_every_chinese_text_was_written_for_the_text_in_the_settings() -> None:
    changed = [
        f"\n{name}:\n  en: {english}\n  zh: (was) {CHINESE.texts[name]['zh']}"
        for name, english in english_texts().items()
        if name in CHINESE.texts and CHINESE.texts[name]["en"] != english
    ]
    assert not changed, f"renew en and zh of what has changed; {WHAT_TO_DO}:{''.join(changed)}"


def test_the_chinese_page_is_that_of_the_texts() -> None:
    page = (ROOT / "docs/zh/configuration.md").read_text(encoding="utf-8")
    assert page == as_markdown(CHINESE), "renew it: make reference"


def test_allowed_values_are_said_in_chinese() -> None:
    def places(text: str) -> int:
        return sum(field is not None for _, field, _, _ in Formatter().parse(text))

    assert {name: places(text) for name, text in CHINESE.words.items()} == {
        name: places(text) for name, text in ENGLISH.items()
    }
    rows = [
        line.split(" | ") for line in as_markdown(CHINESE).splitlines() if line.startswith("| `")
    ]
    assert [row[2] for row in rows if re.search("[a-z]+ [a-z]+", row[2])] == []
