"""The page of the trend: its charts, its table, and its languages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.report import charts
from tasks.report.languages.texts import ENGLISH
from tasks.report.trend import page as trend_page
from tasks.report.trend.figures import draw_groups, draw_trend
from tasks.report.trend.history import RunFigures, read_history
from tasks.report.trend.page import render_trend
from tasks.store.layout import Store
from tests.support.finished_runs import HOSTILE, TURNED, TURNING, read_page
from tests.support.nights import CONFIG, write_nights


@pytest.fixture
def history(tmp_path: Path) -> list[RunFigures]:
    store = Store(tmp_path)
    write_nights(store)
    return read_history(store, Path(CONFIG))


def test_each_run_is_a_line_with_its_changes_and_errors_below_it(history: list[RunFigures]) -> None:
    page = read_page(render_trend("nightly", history))
    head, *lines = (row.words for row in page.part("runs").named("tr"))
    assert head.startswith("run state rows rejects flagged unfinished duplicate repetitive score")
    runs = [line for line in lines if line.startswith("2026")]
    assert [line.split()[0] for line in runs] == [run.state.run_id for run in history[::-1]]
    suspect = next(line for line in lines if " suspect " in line)
    below = lines[lines.index(suspect) + 1]
    assert suspect.split()[1:4] == ["suspect", "1,000", "10.0"]
    assert below == "export: model file model_state.pdparams changed"
    assert "StorageError: the disk is full" in lines
    assert "export: decode.num_beams was 4 and is 6" in lines


def test_bars_are_runs_and_lines_are_changes(history: list[RunFigures]) -> None:
    figures = {figure.title: figure.chart for figure in draw_trend(history, ENGLISH)}
    assert "gives_answer_away" not in figures  # no run has that flag
    chart = figures["unfinished"]
    assert chart is not None
    assert len(chart.bars) == len(history) - 1  # one has failed
    width = 100 / len(history)
    assert chart.marks == [round(at * width, 2) for at in (9, 20, 21)]
    (suspect,) = [bar for bar in chart.bars if bar.kind]
    assert suspect.x == round(20 * width, 2)
    assert suspect.height == 100
    assert suspect.title.endswith("34.4\N{NARROW NO-BREAK SPACE}%")
    assert next(tick.text for tick in chart.x_ticks) == "11-01"


def test_groups_have_a_chart_each_and_rehearsals_are_named(history: list[RunFigures]) -> None:
    groups = {"source=wiki": {"flagged_share": 0.25}, "source=news": {"flagged_share": 0.0}}
    history[-1] = replace(history[-1], groups=groups, kind="fake", exact_match=40.0)
    (figure,) = draw_groups(history, ENGLISH)
    assert figure.title == "source=wiki"
    page = read_page(render_trend("nightly", history))
    assert "source=wiki" in page.part("groups").words
    newest = page.part("runs").named("tr")[1].words
    assert newest.split()[1:3] == ["completed", "fake"]
    assert "40.00" in newest


def test_of_very_many_runs_some_are_drawn_and_the_newest_are_listed(
    history: list[RunFigures], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "MOST_COLUMNS", 6)
    monkeypatch.setattr(trend_page, "MOST_RUNS", 5)
    for chart in (figure.chart for figure in draw_trend(history, ENGLISH)):
        assert chart is not None
        assert len(chart.bars) <= 6
    page = read_page(render_trend("nightly", history))
    lines = [row.words for row in page.part("runs").named("tr")]
    assert sum(line.startswith("2026") for line in lines) == 5
    assert "The newest 5 of 24 runs." in page.part("runs").words


@pytest.mark.parametrize("language", ["auto", "zh", "en"])
def test_the_page_has_no_runs_one_or_many_in_each_language(
    history: list[RunFigures], language: str
) -> None:
    pages = [render_trend("nightly", history[:count], language) for count in (0, 1, 24)]
    for text in pages:
        page = read_page(text)
        assert page.named("html")[0].attributes["lang"] == ("zh-CN" if language == "zh" else "en")
        sources = re.findall(r"(?:src|href)=.([^#'\"]*)", text.partition("</style>")[2])
        assert not [source for source in sources if source]
    assert ("There are no runs of this config." in pages[0]) is (language != "zh")
    assert ("本配置没有运行。" in pages[0]) is (language != "en")


def test_hostile_texts_are_shown_as_they_are(history: list[RunFigures]) -> None:
    text = HOSTILE + TURNING
    state = replace(history[0].state, error=text, run_id=text, state="failed")
    run = replace(history[0], state=state, changes=(text,))
    page = read_page(render_trend(text, [run]))
    assert page.named("h1")[0].text == HOSTILE + TURNED
    assert not page.named("img")
