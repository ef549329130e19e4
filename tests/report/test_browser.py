"""The report in a browser: from disk, without a network, on desktop and phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tasks.report.trend.history import read_history
from tasks.report.trend.page import render_trend
from tasks.store.layout import Store
from tests.support.browser import PROGRAM, Browser, Locator, Page, chromium, sync_playwright
from tests.support.finished_runs import FinishedRun, hostile_run, made, prediction
from tests.support.nights import CONFIG, write_nights

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed"),
]

Scheme = Literal["light", "dark"]
READABLE = 4.5  # WCAG 2.2, 1.4.3: the minimum contrast of a text with its background
OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"
# Yields each pair of colors of a visible text and the nearest background behind it.
PAIRS_OF_COLOURS = """() => {
    const pairs = new Map();
    const isClear = (color) => color === "rgba(0, 0, 0, 0)";
    for (const node of document.querySelectorAll("body *")) {
        const texts = [...node.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE);
        if (!node.checkVisibility() || !texts.some((one) => one.data.trim())) continue;
        const style = getComputedStyle(node);
        let behind = node;
        while (behind && isClear(getComputedStyle(behind).backgroundColor))
            behind = behind.parentElement;
        const ground = getComputedStyle(behind ?? document.body).backgroundColor;
        pairs.set(`${node.namespaceURI.endsWith("svg") ? style.fill : style.color} on ${ground}`,
            node.outerHTML.slice(0, 80));
    }
    return [...pairs];
}"""


@dataclass
class Visit:
    """An opened page, its requests and its errors."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: Path) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())

    @property
    def rows(self) -> Locator:
        return self.page.locator("#sample-rows > li:visible")

    @property
    def found(self) -> str:
        return self.page.locator("#found").inner_text()

    def search(self, text: str) -> None:
        self.page.get_by_role("searchbox").fill(text)


Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partial run of sixty rows, with rejects, failures and a passage without line breaks."""
    folder = tmp_path_factory.mktemp("run")
    rows = [prediction(row) for row in range(60)]
    rows[7] |= {"question": "珠穆朗玛峰有多高？", "context": "长江" + "x" * 900}
    rows[8] |= {"context": "黄河发源于青藏高原。"}
    lost = {"line": 7, "id": "y" * 300, "reason": "shard_failed", "detail": "z" * 400}
    failure = {"shard": 1, "event": "failed", "device": "gpu:1", "error": "w" * 400, "at": 4.0}
    shard = {"shard": 3, "rows": 1, "first_row": 60, "last_row": 60, "error": "v" * 400}
    summary = {"rows_missing": 1, "shards": [shard], "remedy": "run again"}
    run = FinishedRun(
        predictions=rows,
        rejects=[{"row": 60, **lost}],
        events=[made(0, 4.5), failure, made(1, 6.5, device="gpu:1"), made(2, 5.5)],
        metrics={"partial": True, "rows_missing": 1, "shards_failed": 1, "shards_planned": 4},
        mark={b"wenti.partial": json.dumps(summary).encode()},
    )
    path = folder / "report.html"
    path.write_text(run.report(folder), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Open]:
    """A function that opens a report in its own window, offline."""
    contexts = []

    def visit(path: Path = report, **options: Any) -> Visit:  # noqa: ANN401 as Playwright has them
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        visited = Visit(context.new_page())
        visited.open(path)
        return visited

    yield visit
    for context in contexts:
        context.close()


def test_it_opens_without_a_network_and_without_a_complaint(visit: Open, report: Path) -> None:
    opened = visit()
    assert opened.page.title().startswith("nightly")
    assert opened.page.get_by_role("alert").is_visible()
    opened.page.get_by_role("link", name="Lineage").click()
    assert opened.page.url.endswith("#lineage")
    assert opened.requests == [report.as_uri()]
    assert opened.complaints == []


def test_search_narrows_the_samples_and_says_how_many_are_shown(visit: Open) -> None:
    opened = visit()
    assert (opened.rows.count(), opened.found) == (25, "60 in all, 25 shown")
    opened.search("珠穆朗玛")
    assert (opened.rows.count(), opened.found) == (1, "1 of 60 match, 1 shown")
    assert "珠穆朗玛峰有多高？" in opened.rows.inner_text()
    opened.search("ID-4 泰山")  # both words, case-insensitive
    assert opened.found == "11 of 60 match, 11 shown"
    opened.search("４２米")  # full-width digits are digits
    assert opened.found == "1 of 60 match, 1 shown"
    opened.search("没有这个词")
    assert (opened.rows.count(), opened.found) == (0, "None of 60 match")
    opened.search("")
    assert (opened.rows.count(), opened.found) == (25, "60 in all, 25 shown")


def test_what_is_found_in_a_passage_only_is_brought_to_sight(visit: Open) -> None:
    opened = visit()
    passage = opened.page.get_by_text("黄河发源于青藏高原").first
    assert not passage.is_visible()
    opened.search("青藏高原")
    assert passage.is_visible()
    opened.search("泰山9")
    assert not opened.rows.first.locator(".passage").is_visible()


def test_letters_on_their_way_to_characters_are_not_searched_for(visit: Open) -> None:
    opened = visit()
    opened.page.get_by_role("searchbox").focus()
    keyboard = opened.page.context.new_cdp_session(opened.page)
    composing = {"text": "zhumu", "selectionStart": 5, "selectionEnd": 5}
    keyboard.send("Input.imeSetComposition", composing)
    assert opened.page.get_by_role("searchbox").input_value() == "zhumu"
    assert opened.found == "60 in all, 25 shown"
    keyboard.send("Input.insertText", {"text": "珠穆"})
    assert opened.found == "1 of 60 match, 1 shown"


def test_more_rows_are_shown_until_there_are_none(visit: Open) -> None:
    opened = visit()
    more = opened.page.get_by_role("button", name="Show more")
    more.click()
    assert opened.found == "60 in all, 50 shown"
    more.click()
    assert (opened.rows.count(), opened.found) == (60, "60 in all, 60 shown")
    assert not more.is_visible()


def test_each_ranking_shows_its_own_rows(visit: Open) -> None:
    rankings = visit().page.locator("#rankings")
    names = [rankings.locator("label").nth(at).inner_text() for at in range(4)]
    assert names == ["Lowest score", "Highest score", "Lowest BLEU", "Highest BLEU"]
    first = []
    for name in names:
        rankings.get_by_text(name, exact=True).click()
        assert rankings.locator("ol.rows:visible").count() == 1
        first.append(rankings.locator("article:visible .meta").first.inner_text().split()[1])
    assert first[:2] == ["59", "0"]
    rankings.locator("input:checked").press("ArrowLeft")
    assert rankings.locator("input:checked + label").inner_text() == "Lowest BLEU"


def test_without_scripts_every_row_is_there_and_no_search(visit: Open) -> None:
    opened = visit(java_script_enabled=False)
    assert opened.rows.count() == 60
    assert not opened.page.locator("#search").is_visible()


@pytest.mark.parametrize(
    ("options", "code", "title", "found"),
    [
        ({"locale": "en-GB"}, "en", "Wenti report", "60 in all, 25 shown"),
        ({"locale": "de-DE"}, "en", "Wenti report", "60 in all, 25 shown"),
        ({"locale": "zh-CN"}, "zh-CN", "Wenti 运行报告", "共 60 行，显示 25 行"),
        ({"locale": "zh-TW"}, "zh-CN", "Wenti 运行报告", "共 60 行，显示 25 行"),
        ({"locale": "zh-CN", "java_script_enabled": False}, "en", "Wenti report", ""),
    ],
)
def test_the_page_is_in_the_language_of_the_browser(
    visit: Open, options: dict[str, Any], code: str, title: str, found: str
) -> None:
    opened = visit(**options)
    assert opened.page.locator("html").get_attribute("lang") == code
    assert opened.page.title().endswith(title)
    is_chinese = code != "en"
    assert opened.page.get_by_role("heading", name="Samples").is_visible() is not is_chinese
    assert opened.page.get_by_role("heading", name="样例").is_visible() is is_chinese
    assert opened.page.get_by_role("navigation").get_attribute("aria-label") == (
        "章节" if is_chinese else "Sections"
    )
    tip = opened.page.locator("rect.shard title").first.text_content()
    assert (tip or "").startswith("分片" if is_chinese else "shard")
    assert opened.found == found
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_every_text_is_readable_in_both_schemes(visit: Open, scheme: Scheme, locale: str) -> None:
    page = visit(color_scheme=scheme, locale=locale).page
    page.evaluate(OPEN_ALL)
    pairs = dict(page.evaluate(PAIRS_OF_COLOURS))
    assert len(pairs) > 8
    is_dark = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.5
    assert is_dark is (scheme == "dark")
    for pair, where in pairs.items():
        assert contrast(*pair.split(" on ")) >= READABLE, f"{pair}: {where}"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(visit: Open, tmp_path: Path, width: int) -> None:
    hostile = tmp_path / "report.html"
    hostile.write_text(hostile_run().report(tmp_path), encoding="utf-8")
    for opened in (visit(), visit(hostile)):
        opened.page.set_viewport_size({"width": width, "height": 740})
        opened.page.evaluate(OPEN_ALL)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_trend_opens_without_a_network_and_is_readable(
    visit: Open, tmp_path: Path, scheme: Scheme
) -> None:
    store, path = Store(tmp_path), tmp_path / "trend.html"
    write_nights(store)
    path.write_text(render_trend("nightly", read_history(store, Path(CONFIG))), encoding="utf-8")
    opened = visit(path, color_scheme=scheme, locale="zh-CN")
    assert opened.page.get_by_role("heading", name="历次运行").is_visible()
    for pair, where in dict(opened.page.evaluate(PAIRS_OF_COLOURS)).items():
        assert contrast(*pair.split(" on ")) >= READABLE, f"{pair}: {where}"
    for width in (360, 1280):
        opened.page.set_viewport_size({"width": width, "height": 740})
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.requests == [path.as_uri()]
    assert opened.complaints == []


def test_hostile_texts_do_nothing(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(hostile_run().report(tmp_path), encoding="utf-8")
    opened = visit(path)
    opened.search("<script>")
    assert opened.found == "1 of 1 match, 1 shown"
    assert "{{7*7}}" in opened.rows.inner_text()
    assert opened.requests == [path.as_uri()]
    assert opened.complaints == []


def luminance(color: str) -> float:
    """Return the relative luminance of an `rgb(…)` color, as defined by WCAG 2.2."""
    channels = [int(one) / 255 for one in re.findall(r"\d+", color)[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors, as defined by WCAG 2.2: 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
