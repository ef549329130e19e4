"""What the page says of rows that are missing, rejected, cut, flagged or made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.finished_runs import (
    HOSTILE,
    FinishedRun,
    nightly_run,
    prediction,
    read_page,
)
from tests.support.run_records import RUN_ID


@pytest.fixture
def run() -> FinishedRun:
    return nightly_run()


def test_a_partial_run_says_so_at_the_top_with_each_failed_shard(
    run: FinishedRun, tmp_path: Path
) -> None:
    shards = [
        {"shard": 4, "rows": 9, "first_row": 32, "last_row": 41, "error": f"died of {HOSTILE}"},
        {"shard": 3, "state": "left out", "rows": 3, "first_row": 42, "last_row": 44}
        | {"error": "not chosen"},
    ]
    summary = {"rows_missing": 12, "shards": shards, "remedy": "run again"}
    run.mark = {b"wenti.partial": json.dumps(summary).encode()}
    run.metrics = {"partial": True, "rows_missing": 12, "shards_failed": 1, "shards_planned": 5}
    run.metrics["shards_left_out"] = 1
    lost = {"line": None, "id": "x", "reason": "shard_failed", "detail": "died"}
    run.rejects += [{"row": row, **lost} for row in range(32, 44)]
    page = read_page(run.report(tmp_path))
    assert page.named("h1")[0].words == "nightly Partial"
    assert "(partial)" in page.named("title")[0].text
    first, *_ = page.part("overview").named("div")
    assert first.attributes["role"] == "alert"
    for words in (
        "Partial results: 12 rows are missing",
        "Of 5 shards, 1 failed and 1 was left out of this rerun.",
        "To finish: run again.",
        f"Shard 4, rows 32 to 41: died of {HOSTILE[:90]}",
        "Shard 3, rows 42 to 44: not chosen",
    ):
        assert words in first.words
    assert "of which 12 missing with their shards" in page.named("div", "card")[0].words
    lines = [line.words for line in page.part("shards").named("tr")]
    assert lines[1].startswith("3 left out 3 ")
    assert lines[2] == "not chosen"
    assert lines[3].startswith("4 failed 9 ")
    assert lines[4] == f"died of {HOSTILE}"


def test_a_suspect_run_says_what_is_beyond_which_limit(run: FinishedRun, tmp_path: Path) -> None:
    share = {"key": "max_drift", "measure": "unfinished", "value": 0.12, "limit": 0.03}
    share |= {"count": 36, "rows": 300, "before": 0.003, "p_value": 1.4e-10}
    score = {"key": "min_mean_score", "measure": "score_per_token", "value": -0.61, "limit": -0.5}
    score |= dict.fromkeys(("count", "rows", "before", "p_value"))
    rows = {**share, "key": "max_unfinished", "limit": 1234567.0, "before": None, "p_value": None}
    run.metrics = {"gate": {"since": "run-of-monday", "breaches": [share, score, rows]}}
    page = read_page(run.report(tmp_path))
    assert page.named("h1")[0].words == "nightly Suspect"
    notice, *_ = page.part("overview").named("div", "notice")
    assert [item.words for item in notice.named("li")] == [
        "unfinished 12.0 % (36 of 300), before 0.3 % (p = 1e-10); "
        "the limit is quality.max_drift: 0.03",
        "Mean score per token −0.6100; the limit is quality.min_mean_score: -0.5",
        "unfinished 12.0 % (36 of 300); the limit is quality.max_unfinished: 1234567",
    ]
    assert "Compared with run run-of-monday." in notice.words
    run.metrics = {"gate": {"since": None, "breaches": []}}
    assert "suspect" not in read_page(run.report(tmp_path)).part("overview").words


@pytest.mark.parametrize(
    ("cost", "told"),
    [(1234.5, "It cost 1,234.50"), (0.00123, "It cost 0.0012"), (0, "It cost 0.00")],
)
def test_the_cost_is_told_if_it_is_known(
    run: FinishedRun, tmp_path: Path, cost: float, told: str
) -> None:
    assert "It cost" not in run.report(tmp_path)
    run.metrics = {"cost": cost}
    assert told in read_page(run.report(tmp_path)).part("overview").words


def test_many_rejects_are_not_green(run: FinishedRun, tmp_path: Path) -> None:
    few = read_page(run.report(tmp_path))
    assert few.named("h1")[0].named("span", "good")[0].words == "Complete"
    assert few.named("div", "notice") == []
    rejects = len(run.rejects)
    lost = {"line": 1, "id": None, "reason": "missing_field", "detail": "`context` is missing"}
    run.rejects += [{"row": row, **lost} for row in range(100, 100 + 2 * len(run.predictions))]
    page = read_page(run.report(tmp_path))
    assert page.named("h1")[0].words == "nightly Many rejects"
    assert page.named("h1")[0].named("span", "good") == []
    notice, *_ = page.part("overview").named("div", "notice")
    rows = len(run.predictions) * 3 + rejects
    assert f"{len(run.rejects)} of {rows} rows could not be used" in notice.words
    (card, *_) = page.named("div", "card")
    assert card.named("span", "good") == []
    assert "Every row is accounted for" in card.named("span", "warn")[0].words


def test_rejects_are_told_by_reason_with_the_first_of_each(tmp_path: Path) -> None:
    reasons = ["empty_field"] * 7 + ["not_json"] * 2
    rejects = [
        {"row": row, "line": row + 1, "id": None, "reason": reason, "detail": f"wrong {row}"}
        for row, reason in enumerate(reasons)
    ]
    page = read_page(FinishedRun([prediction(9)], rejects).report(tmp_path))
    groups = page.part("rejects").named("div", "reason")
    headings = [group.named("h3")[0].words for group in groups]
    assert headings == ["empty_field 7 rows", "not_json 2 rows"]
    assert [group.named("summary")[0].words for group in groups] == ["The first 5", "All of them"]
    found = [[item.words for item in group.named("li")] for group in groups]
    assert found[0] == [f"row {row} line {row + 1} wrong {row}" for row in range(5)]
    assert len(found[1]) == 2


def test_cut_rows_are_counted_and_can_be_found(run: FinishedRun, tmp_path: Path) -> None:
    assert "0 rows of" in read_page(run.report(tmp_path)).part("rejects").words
    for row, cut in ((0, "answer"), (1, "passage_end"), (2, "passage_end")):
        run.predictions[row]["cut"] = cut
    run.metrics = {"cut_rows": 3, "unknown_tokens": 8, "unknown_rows": 4}
    page = read_page(run.report(tmp_path))
    told = page.part("rejects").words
    assert "8 characters or words that the vocabulary does not have ([UNK]), in 4 rows" in told
    assert "passage_end 2 rows: 1, 2 answer 1 row: 0" in told
    assert "several lines" not in told
    assert "3 rows cut by max_seq_len" in page.named("div", "card")[0].words
    first, *_ = page.part("samples").named("article")
    assert "cut off: answer" in first.words


def test_rows_of_several_lines_are_told(run: FinishedRun, tmp_path: Path) -> None:
    run.metrics = {"multiline_rows": 2, "multiline_at": [[2, 3], [4, 5]]}
    told = read_page(run.report(tmp_path)).part("rejects").words
    assert "have several lines: 2 (lines 2 to 3, 4 to 5)" in told


def test_rows_that_do_not_add_up_are_told(run: FinishedRun, tmp_path: Path) -> None:
    run.metrics = {"rows_in": 33}
    overview = read_page(run.report(tmp_path)).part("overview").words
    assert "✗ Not every row is accounted for" in overview
    assert "Every row is accounted for:" not in overview
    assert f"wenti verify {RUN_ID}" in overview


def test_made_up_questions_are_told(run: FinishedRun, tmp_path: Path) -> None:
    assert "Made-up questions" not in run.report(tmp_path)
    run.record = {"decided_by": {"export": {"engine": "fake", "engine_version": 1}}}
    assert "Made-up questions" in run.report(tmp_path)


def test_flagged_questions_are_shown_by_flag_with_the_first_of_each(tmp_path: Path) -> None:
    texts = ["泰山在哪里？", "泰山在哪里", "", "泰山位于山东省"]
    rows = [prediction(row, question=text, output_ids=[7, 2]) for row, text in enumerate(texts)]
    page = read_page(FinishedRun(rows).report(tmp_path))
    assert "3 of 4 questions (75.0 %) have at least one flag" in page.part("flags").words
    groups = {
        group.named("code")[0].text: group.words
        for group in page.part("flags").named("div", "reason")
    }
    assert [*groups] == ["not_asking", "duplicate", "empty", "gives_answer_away"]
    assert "1 question · 25.0 %" in groups["duplicate"]
    assert "row 1 original: row 0 泰山在哪里" in groups["duplicate"]
    assert "row 3 泰山位于山东省" in groups["gives_answer_away"]


def test_a_run_without_flags_says_so(tmp_path: Path) -> None:
    good = prediction(0, question="泰山在哪里？", output_ids=[7, 2])
    page = read_page(FinishedRun([good]).report(tmp_path))
    assert "No question is flagged." in page.part("flags").words
