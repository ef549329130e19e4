"""Which rows the report shows, and how it shortens passages."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.report.charts import MOST_COLUMNS
from tasks.report.rows import cut_passage
from tasks.store.tables import spaced
from tests.support.finished_runs import FinishedRun, prediction, read_page


def test_a_large_run_shows_evenly_spaced_rows_and_says_so(tmp_path: Path) -> None:
    rows = 100_000
    run = FinishedRun([prediction(row, score=-row / rows) for row in range(rows)])
    html = run.report(tmp_path)
    page = read_page(html)
    samples = page.part("samples")
    assert "1,000 of the 100,000 questions, evenly spaced" in samples.words
    shown = [article.named("span", "text")[0].text for article in samples.named("article")]
    assert shown == [str(row) for row in range(0, rows, 100)]
    assert all("BLEU" in article.words for article in samples.named("article"))
    assert "for 20,000 of the 100,000 rows" in page.part("rankings").words
    assert "20,000 evenly spaced rows by the BLEU" in page.part("distributions").words
    assert len(html) < 3_000_000


def test_a_report_of_long_passages_and_many_shards_keeps_its_size(tmp_path: Path) -> None:
    rows, shards = 1500, 20_000
    events = [
        {"shard": shard, "event": event, "device": "cpu", "seconds": 0.5, "at": shard / 2 + 1}
        | ({"rows": 1, "rejects": 0} if event == "made" else {"error": "it broke"})
        for shard in range(shards)
        for event in ("failed", "made")
    ]
    long = [prediction(row, context=f"{row}" + "长" * 3000) for row in range(rows)]
    run = FinishedRun(long, events=events, metrics={"shards_planned": shards})
    html = run.report(tmp_path)
    assert len(html.encode()) < 3_000_000
    page = read_page(html)
    shown = [one.named("span", "text")[0].text for one in page.part("samples").named("article")]
    assert 100 < len(shown) < 1000
    assert shown == [str(place) for place in spaced(rows, len(shown))]
    assert f"{MOST_COLUMNS:,} evenly spaced ones are shown" in page.words
    assert f"{shards:,} shards" in page.words  # those that are not drawn are counted


@given(count=st.integers(0, 500), most=st.integers(1, 60))
def test_spaced_places_are_even_and_as_many_as_may_be(count: int, most: int) -> None:
    places = spaced(count, most)
    assert len(places) == min(count, most)
    assert all(0 <= place < count for place in places)
    gaps = {after - before for before, after in itertools.pairwise(places)}
    assert gaps <= {count // most, count // most + 1} or count <= most
    assert places == list(range(count)) or count > most


@given(
    start=st.integers(0, 40),
    answer=st.integers(1, 30),
    rest=st.integers(0, 40),
    longest=st.integers(1, 50),
)
def test_a_cut_passage_holds_its_answer_and_says_what_is_left_out(
    start: int, answer: int, rest: int, longest: int
) -> None:
    context = "".join(
        map(chr, range(0x4E00, 0x4E00 + start + answer + rest))
    )  # all characters are different
    cut = cut_passage(context, context[start : start + answer], longest)
    kept = f"{cut.before}{cut.answer}{cut.after}".replace("…", "")
    assert kept in context
    assert len(kept) == min(longest, len(context)) == len(context) - cut.omitted
    assert cut.answer
    assert context[start:].startswith(cut.answer)
    assert cut.before.startswith("…") is not context.startswith(kept)
    assert cut.after.endswith("…") is not context.endswith(kept)


def test_a_passage_without_its_answer_is_cut_at_its_end() -> None:
    cut = cut_passage("甲" * 50, "丙", 10)
    assert (cut.before, cut.answer, cut.after, cut.omitted) == ("", "", "甲" * 10 + "…", 40)
