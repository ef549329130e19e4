"""The report in Chinese and English."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.config.settings import Settings
from tasks.report import page as report
from tasks.report.languages.both import join
from tasks.report.languages.texts import WORDS, read_chinese
from tests.support.finished_runs import (
    Element,
    FinishedRun,
    grouped,
    hostile_run,
    made,
    prediction,
    read_page,
)

CHINESE = read_chinese().table
TEMPLATES = sorted(report.TEMPLATES.glob("*.j2"))
CODE = sorted(Path(report.__file__).parent.glob("**/*.py"))
SAYING = {"texts", "self"}  # the names of what is called with an English text


def partial_run() -> FinishedRun:
    failure = {"shard": 1, "event": "failed", "device": "gpu:1", "error": "died", "at": 4.0}
    shards = [{"shard": 3, "rows": 1, "first_row": 30, "last_row": 30, "error": "v"}]
    lost = {"line": 7, "id": "x", "reason": "shard_failed", "detail": "died"}
    summary = {"rows_missing": 1, "shards": shards, "remedy": "run again"}
    return FinishedRun(
        predictions=[prediction(row, cut="answer" if row == 3 else None) for row in range(30)],
        rejects=[{"row": 30, **lost}],
        events=[made(0, 4.5), failure, made(1, 6.5, device="gpu:1")],
        metrics={"partial": True, "rows_missing": 1, "shards_failed": 1, "shards_planned": 4}
        | {"multiline_rows": 2, "multiline_at": [[2, 3], [4, 5]], "cut_rows": 1}
        | {"groups": grouped("wiki", None, others=3), "rows_dropped": 1},
        mark={b"wenti.partial": json.dumps(summary).encode()},
    )


def whole_run() -> FinishedRun:
    return FinishedRun([prediction(row) for row in range(30)], events=[made(0, 4.5)])


def suspect_run() -> FinishedRun:
    share = {"key": "max_drift", "measure": "unfinished", "value": 0.12, "limit": 0.03}
    share |= {"count": 36, "rows": 300, "before": 0.003, "p_value": 1.4e-10}
    score = {"key": "max_drift", "measure": "score_per_token", "value": -0.61, "limit": 0.03}
    score |= {"count": None, "rows": None, "before": -0.2, "p_value": 1e-9}
    gate = {"since": "monday", "breaches": [share, score]}
    return FinishedRun(metrics={"gate": gate, "cost": 2.5})


def unscored_run() -> FinishedRun:
    rows = [prediction(row, reference=None, question="", score=None) for row in range(2)]
    reused = {"shard": 0, "event": "reused", "rows": 2, "rejects": 0}
    return FinishedRun(rows, events=[reused], metrics={"shards_left_out": 1})


RUNS = [partial_run, whole_run, unscored_run, suspect_run, FinishedRun, hostile_run]
in_every_run = pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)


def render(run: FinishedRun, folder: Path, language: str | None) -> str:
    """Return the report of a run whose config says this language; None: an older one, nothing."""
    config = {**Settings().as_dict(), **run.record.get("config", {})}
    config["report"] = {"language": language}
    if language is None:
        del config["report"]
    run.record = {**run.record, "config": config}
    return run.report(folder)


def words_of(page: Element, hidden: str) -> list[str]:
    """Return the words of a page without the elements of a class and without the config."""
    return _text_of(page, hidden).split()


def _text_of(element: Element | str, hidden: str) -> str:
    if isinstance(element, str):
        return element
    if element.attributes.get("class") in {hidden, "config"} or element.tag in {"script", "style"}:
        return ""
    if hidden == "en" and "data-zh-text" in element.attributes:
        return element.attributes["data-zh-text"] or ""
    return "".join(_text_of(one, hidden) for one in element.children)


def labels_of(page: Element, hidden: str) -> list[str | None]:
    """Return the values of all attributes with a text."""
    names = ("aria-label", "placeholder", "data-every", "data-some", "data-none")
    own = [(one, f"data-zh-{name}", name) for one in page for name in names]
    return [
        one.attributes[chinese if hidden == "en" and chinese in one.attributes else name]
        for one, chinese, name in own
        if name in one.attributes
    ]


def english_texts() -> Iterator[str]:
    environment = report.make_environment(report.TEMPLATES)
    for path in TEMPLATES:
        for _, _, found in environment.extract_translations(path.read_text(encoding="utf-8")):
            yield from [found] if isinstance(found, str) else [text for text in found or () if text]
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SAYING:
                yield from (one.value for one in node.args if isinstance(one, ast.Constant))
    yield from WORDS


def test_every_text_of_the_page_has_a_chinese_one_and_nothing_else_has() -> None:
    texts = set(english_texts())
    where = "tasks/report/languages/zh.yaml"
    assert texts - set(CHINESE) == set(), f"add the Chinese texts to {where}"
    assert set(CHINESE) - texts == set(), f"take them out of {where}"


def test_both_texts_have_the_same_values_and_tags() -> None:
    values = re.compile(r"%\(\w+\)s|%%|{\w+}")
    for english, chinese in CHINESE.items():
        ours, others = (sorted(values.findall(text)) for text in (english, chinese))
        assert "%(month)s" in ours or ours == others, english  # a month has a name or a number
        assert re.findall("<[^>]+>", english) == re.findall("<[^>]+>", chinese), english


@in_every_run
def test_a_page_of_both_languages_has_what_the_pages_of_each_have(
    make: Callable[[], FinishedRun], tmp_path: Path
) -> None:
    both, older = (read_page(render(make(), tmp_path, code)) for code in ("auto", None))
    assert words_of(older, "zh") == words_of(both, "zh")
    for code, hidden in (("en", "zh"), ("zh", "en")):
        alone = read_page(render(make(), tmp_path, code))
        assert words_of(both, hidden) == words_of(alone, hidden)
        assert labels_of(both, hidden) == labels_of(alone, hidden)


def test_a_page_of_one_language_is_smaller_and_says_so(tmp_path: Path) -> None:
    both, english, chinese = (render(whole_run(), tmp_path, code) for code in ("auto", "en", "zh"))
    codes = [read_page(one).named("html")[0].attributes["lang"] for one in (both, english, chinese)]
    assert codes == ["en", "en", "zh-CN"]
    assert max(len(english), len(chinese)) < len(both)
    assert "Samples" not in chinese
    assert "样例" not in english


def test_pages_of_different_elements_are_not_joined() -> None:
    with pytest.raises(ValueError, match="different elements"):
        join("<p>a</p>", "<b>a</b>")
