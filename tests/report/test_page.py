from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sacrebleu

from tasks.report.rows import read_report_rows
from tests.support.finished_runs import (
    HOSTILE,
    TURNED,
    FinishedRun,
    grouped,
    hostile_run,
    made,
    nightly_run,
    prediction,
    read_page,
)
from tests.support.run_records import RUN_ID

SECTIONS = [
    "overview",
    "samples",
    "rankings",
    "flags",
    "rejects",
    "distributions",
    "speed",
    "lineage",
]


@pytest.fixture
def run() -> FinishedRun:
    return nightly_run()


def draw_predictions(count: int, seed: int) -> list[dict[str, Any]]:
    """Draw rows with questions similar to and different from their references, some without one."""
    draw = np.random.default_rng(seed)
    words = list("泰山位于哪个省份的是谁发明了中国")
    rows = []
    for row in range(count):
        reference = "".join(draw.choice(words, draw.integers(1, 12)))
        question = reference if draw.random() < 0.3 else reference[: draw.integers(0, 12)] + "吗"
        kept = None if draw.random() < 0.2 else reference
        score = float(draw.normal())
        context = "长" * int(draw.integers(1, 300))
        rows.append(
            prediction(row, question=question, reference=kept, score=score, context=context)
        )
    return rows


def test_figures_and_rankings_are_those_of_the_file(tmp_path: Path) -> None:
    FinishedRun(draw_predictions(200, seed=4)).report(tmp_path)
    rows = read_report_rows(tmp_path / "predictions.parquet")
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    frame["bleu"] = [
        math.nan
        if pair.reference is None
        else sacrebleu.sentence_bleu(
            pair.question, [pair.reference], tokenize="zh", use_effective_order=True
        ).score
        for pair in frame.itertuples()
    ]
    lengths = {"questions": "question", "passages": "context", "references": "reference"}
    for name, column in lengths.items():
        expected = frame[column].str.len().dropna().value_counts().sort_index()
        found = getattr(rows.values, name)
        assert (found.values.tolist(), found.counts.tolist()) == (
            expected.index.tolist(),
            expected.tolist(),
        )
    np.testing.assert_array_equal(rows.values.scores, frame["score"])
    bleus = frame["bleu"].dropna()
    assert [*rows.values.bleus] == bleus.index.tolist()
    np.testing.assert_allclose([*rows.values.bleus.values()], bleus)
    assert rows.values.identical == (frame["question"] == frame["reference"]).sum()
    for key in ("score", "bleu"):
        ordered = frame.dropna(subset=key).sort_values(key, kind="stable")
        backwards = frame.dropna(subset=key).sort_values(key, kind="stable", ascending=False)
        for end, expected in (("lowest", ordered), ("highest", backwards)):
            found = [row.row for row in rows.rankings[f"{end} {key}"]]
            assert found == expected["row"].head(10).tolist()
    assert [row.row for row in rows.samples] == list(range(200))
    assert [row.question for row in rows.samples] == frame["question"].tolist()


def test_the_first_screen_answers_what_a_morning_asks(run: FinishedRun, tmp_path: Path) -> None:
    page = read_page(run.report(tmp_path))
    top = page.named("header")[0].words
    assert top.startswith("问题 Wenti report nightly Complete")
    assert RUN_ID in top
    assert "23 November 2026, 01:00 UTC" in top
    assert "took 8.1 s" in top
    rows, quality, speed, failed = (card.words for card in page.named("div", "card"))
    assert "30 of 31 rows" in rows
    assert "Every row is accounted for: 30 questions and 1 reject" in rows
    assert "12.50 BLEU-4" in quality
    assert "against 30 reference questions" in quality
    assert "7.50 rows per second" in speed
    assert "12.5 % of the tokens in the batches were padding" in speed
    assert "0 of 3 shards" in failed
    assert "1 attempt failed" in failed


def test_every_section_is_there_and_reached(run: FinishedRun, tmp_path: Path) -> None:
    page = read_page(run.report(tmp_path))
    assert [section.attributes["id"] for section in page.named("section")] == SECTIONS
    names = [one.attributes["id"] for one in page if "id" in one.attributes]
    assert len(set(names)) == len(names)
    links = [link.attributes["href"] for link in page.named("a")]
    assert set(links) >= {f"#{name}" for name in SECTIONS}
    assert {link[1:] for link in links if link} <= set(names)
    for chart in page.named("div", "chart"):
        assert chart.attributes["role"] == "img"
        assert chart.attributes["aria-label"]
    for figure in page.named("figure"):
        assert figure.named("figcaption")[0].words
    captions = page.part("distributions").words
    assert "median 8, nine in ten between 7 and 8" in captions
    assert page.part("speed").words.count("shard") > 3


def test_speed_shows_each_stage_worker_and_shard(run: FinishedRun, tmp_path: Path) -> None:
    speed = read_page(run.report(tmp_path)).part("speed")
    lanes = [lane.words for lane in speed.named("div", "lane")]
    assert [lane.split()[0] for lane in lanes[:-1]] == [
        *("export", "load", "predict", "gpu:0", "gpu:1", "aggregate")
    ]
    assert lanes[1].endswith("reused")
    assert len(speed.named("rect", "failure")) == 1
    titles = [title.text for title in speed.named("title")]
    assert "shard 2: 10.00 rows/s, 10 rows in 1.0 s on gpu:0" in titles
    table = [[cell.words for cell in line.named("td")] for line in speed.named("tr")[1:]]
    assert table == [
        ["0", "made", "10", "0", "1", "1.0", "10.0", "gpu:0"],
        ["1", "made", "10", "0", "2", "1.0", "10.0", "gpu:1"],
        ["died"],
        ["2", "made", "10", "0", "1", "1.0", "10.0", "gpu:0"],
    ]


def test_lineage_says_what_the_run_was_made_from(run: FinishedRun, tmp_path: Path) -> None:
    changed = {"batch_size": 7}
    config = {"store": {"path": "wenti-store"}, "predict": {"device": "cpu", "precision": "fp32"}}
    config["predict"] |= changed
    run.record = {"config": config, "rerun_of": "20261122-010000-ffffff"}
    page = read_page(run.report(tmp_path))
    facts = {
        one.named("dt")[0].words: one.named("dd")[0].words
        for one in page.part("lineage").named("div")
        if one.children and one.named("dt") and not one.named("h3") and not one.named("h4")
    }
    assert facts["id"] == RUN_ID
    assert facts["rerun of"] == "20261122-010000-ffffff"
    assert facts["sha256 of the passages"] == facts["export"] == "ab" * 32
    assert (facts["wenti"], facts["paddlepaddle"]) == ("0.1.0", "2.6.2")
    assert facts["batch_size"] == "7 default 16"
    assert facts["path"] == "wenti-store"
    assert "sacreBLEU-zh" in facts


def test_each_device_is_shown_with_what_it_did_and_took(run: FinishedRun, tmp_path: Path) -> None:
    did = {"shards": 2, "rows": 1300, "busy_seconds": 12.34}
    card = {"name": "<b>T4</b>", "memory_mb": 16000.0, "peak_memory_mb": 3120.4}
    run.metrics = {
        "devices": {
            "gpu:0": {**did, **card, "utilisation_percent": 87.4},
            "gpu:1": {**did, **card, "utilisation_percent": None},
            "cpu": {**did, "peak_memory_mb": 812.0, "cpu_seconds": 9.96},
            "gpu:2": did,
        }
    }
    table = read_page(run.report(tmp_path)).part("devices").named("tbody")[0]
    rows = [[cell.words for cell in row.named("td")] for row in table.named("tr")]
    assert rows == [
        ["gpu:0 (<b>T4</b>)", "2", "1,300", "12.3", "3,120 MB", "87 % of the time"],
        ["gpu:1 (<b>T4</b>)", "2", "1,300", "12.3", "3,120 MB", "–"],
        ["cpu", "2", "1,300", "12.3", "812 MB", "10.0 CPU seconds"],
        ["gpu:2", "2", "1,300", "12.3", "–", "–"],
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("has_references", [True, False])
def test_few_rows_or_none_have_a_report_too(
    tmp_path: Path, count: int, has_references: bool
) -> None:
    change = {} if has_references else {"reference": None}
    rejects = [{"row": 5, "line": None, "id": None, "reason": "timeout", "detail": "hung"}]
    run = FinishedRun([prediction(row, **change) for row in range(count)], rejects)
    page = read_page(run.report(tmp_path))
    assert [section.attributes["id"] for section in page.named("section")] == SECTIONS
    samples = page.part("samples")
    expected = ["no questions", "The only question", "Every question"][count]
    assert expected in samples.words
    assert len(samples.named("article")) == count
    is_scored = bool(count and has_references)
    quality = page.named("div", "card")[1].words
    assert ("BLEU-4" in quality) is is_scored
    assert ("no reference questions" in quality) is bool(count and not has_references)
    assert ("There are no questions" in quality) is (count == 0)
    assert "the engine does not return" not in page.part("rankings").words
    headings = [heading.words for heading in samples.named("h3")]
    assert headings == ["Question", *["Reference"] * is_scored, "Answer"] * count
    assert len(page.part("rankings").named("label")) == (0, 2, 4)[(count > 0) + is_scored]


def test_a_run_that_reused_everything_says_so_instead_of_a_speed(
    run: FinishedRun, tmp_path: Path
) -> None:
    run.events = [{"shard": shard, "event": "reused", "rows": 10, "rejects": 0} for shard in (0, 1)]
    page = read_page(run.report(tmp_path))
    assert "nothing was generated" in page.named("div", "card")[2].words
    speed = page.part("speed")
    assert "reused all shards from the store" in speed.words
    assert speed.named("div", "chart") == []


def test_a_run_of_an_older_wenti_has_a_report_too(run: FinishedRun, tmp_path: Path) -> None:
    run.events = [{"shard": 0, "event": "reused"}, made(1, 1.0)]
    del run.events[1]["at"]
    in_the_record = ("stages", "versions", "decided_by", "config", "config_file", "model_folder")
    losses = ("cut_rows", "cut", "unknown_tokens", "unknown_rows")
    losses += ("multiline_rows", "multiline_at", "quality", "exact_match")
    without = (*in_the_record, *losses, "partial", "rows_missing", "shards_left_out")
    page = read_page(run.report(tmp_path, without))
    assert "Unknown: an older version" in page.part("rejects").words
    assert "Unknown: an older version" in page.part("flags").words
    assert page.named("h1")[0].words == f"{RUN_ID} Complete"
    speed = page.part("speed").words
    assert "did not record when they started" in speed
    assert "does not contain times" in speed
    assert "Throughput per shard" in speed
    assert "Checkpoints" in page.part("lineage").words


def test_scores_that_are_infinite_are_counted_apart(run: FinishedRun, tmp_path: Path) -> None:
    for row, score in enumerate((math.inf, -math.inf)):
        run.predictions[row]["score"] = score
    page = read_page(run.report(tmp_path))
    assert "2 more are infinite" in page.part("distributions").words
    for row in run.predictions:
        row["score"] = -math.inf
    page = read_page(run.report(tmp_path))
    assert "No score is a finite number" in page.part("distributions").words


def test_no_text_is_more_than_a_text(run: FinishedRun, tmp_path: Path) -> None:
    harmless, page = (read_page(one.report(tmp_path)) for one in (run, hostile_run()))
    assert {one.tag for one in page} <= {one.tag for one in harmless} | {"ol", "strong"}
    assert [script.text for script in page.named("script")] == [
        script.text for script in harmless.named("script")
    ]
    attributes = {name for one in page for name in one.attributes}
    assert attributes <= {name for one in harmless for name in one.attributes}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", page.text)
    spelt = HOSTILE + TURNED
    (row,) = page.part("samples").named("article")
    texts = [one.text for one in row if "text" in (one.attributes.get("class") or "").split()]
    assert texts == ["0", spelt, spelt, spelt, spelt, spelt, spelt]
    for section in ("rejects", "speed", "lineage"):
        assert spelt in page.part(section).text


def test_the_page_loads_nothing(run: FinishedRun, tmp_path: Path) -> None:
    html = run.report(tmp_path)
    page = read_page(html)
    links = [value for one in page for name, value in one.attributes.items() if name == "href"]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert all("src" not in one.attributes for one in page)
    for loads in ("http://", "https://", "url(", "@import"):
        assert loads not in html
    (policy,) = (one for one in page.named("meta") if "http-equiv" in one.attributes)
    assert (policy.attributes["content"] or "").startswith("default-src 'none'; style-src 'sha256-")
    assert all("style" not in one.attributes for one in page)


def test_the_same_run_gives_the_same_bytes(run: FinishedRun, tmp_path: Path) -> None:
    assert run.report(tmp_path) == run.report(tmp_path)


def test_groups_are_lines_of_a_table_and_the_smaller_ones_are_one(
    run: FinishedRun, tmp_path: Path
) -> None:
    assert "#groups" not in run.report(tmp_path)
    run.metrics["groups"] = grouped("wiki", None, others=3)
    groups = read_page(run.report(tmp_path)).part("groups")
    assert "5 groups of rows with the same values" in groups.words
    assert "The last line has all others together" in groups.words
    assert [cell.words for cell in groups.named("th")][:3] == ["source", "rows", "rejects"]
    lines = [[cell.words for cell in line.named("td")] for line in groups.named("tr")[1:]]
    assert [line[0] for line in lines] == ["wiki", "null", "3 more"]
    figures = ["10", "21 dropped", "225.0 %", "−0.500", *["86.2[80.0, 91.5]"] * 2, "86.2"]
    assert lines[0][1:] == [*figures, "duplicate 2"]


def test_dropped_questions_are_told_beside_the_flags_and_among_the_rejects(
    run: FinishedRun, tmp_path: Path
) -> None:
    dropped = {
        "reason": "quality:duplicate",
        "detail": "it equals that of row 0: 谁？",
        "line": None,
    }
    run.rejects += [{"row": 100 + at, "id": "x", **dropped} for at in range(9)]
    run.metrics["rows_dropped"] = 9
    page = read_page(run.report(tmp_path))
    assert "of which 9 dropped by aggregate.keep" in page.part("overview").words
    assert "9 got one that aggregate.keep dropped" in page.part("rejects").words
    assert "aggregate.keep dropped 9" in page.part("flags").words
    assert page.named("h1")[0].words.endswith("Complete")  # not: Many rejects
