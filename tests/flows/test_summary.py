from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.summary import (
    as_markdown,
    count_new,
    count_reuse,
    count_rows,
    count_shards,
    tabulate_groups,
    tabulate_shards,
    tell_losses,
    tell_quality,
    tell_rejects,
    tell_suspicion,
)
from tasks.config.settings import DecodeSettings, Settings, StoreSettings
from tasks.predict.jobs import ShardJob, ShardOutcome, StageJob
from tasks.predict.shards import Shard
from tasks.runs.journal import ShardHistory
from tasks.runs.record import RunRecord
from tasks.store.manifest import Manifest
from tests.support.run_records import least_record

METRICS: dict[str, Any] = {
    "rows_in": 60,
    "predictions": 57,
    "rejects": 3,
    "reject_reasons": {"empty_field": 1, "not_json": 2},
    "cut_rows": 0,
    "cut": {},
    "unknown_tokens": 0,
    "unknown_rows": 0,
    "multiline_rows": 0,
    "multiline_at": [],
    "partial": False,
    "rows_missing": 0,
    "rows_made": 57,
    "rows_reused": 0,
    "reused_from": {},
    "shards_reused": 57,
    "shards_made": 3,
    "shards_failed": 0,
    "shards_left_out": 0,
    "bleu_4": 41.08,
    "rouge_l": None,
    "sacrebleu_zh": None,
    "exact_match": None,
    "rows_per_second": None,
    "padding_share": 0.042,
    "quality": {"rows": 57, "flagged_rows": 0, "flags": {"empty": 0}, "means": {"repeats": 0}},
    "stage_seconds": {"export": 1.5, "load": 2.0},
}
COUNTS = ("rows", "batches", "input_tokens", "padded_tokens", "output_tokens")
DETAILS = {**dict.fromkeys(COUNTS, 4), "rejects": []}
MANIFEST = Manifest(kind="shard", fingerprint="f", decided_by={}, files=(), details=DETAILS)


def test_a_run_says_what_it_reused_made_and_lacks() -> None:
    assert count_shards(METRICS) == "reused 57, made 3, failed 0"
    assert count_rows(METRICS) == "60 in, 57 questions, 3 rejected"


def test_a_run_says_how_many_rows_it_generated_and_where_the_others_come_from() -> None:
    reused = METRICS | {"rows_made": 7, "rows_reused": 50}
    assert count_reuse(METRICS) is None
    assert count_reuse(reused) == "7 rows, 50 reused"
    assert count_reuse(reused | {"reused_from": {"a": 50}}) == "7 rows, 50 reused from a"
    several = reused | {"reused_from": {"a": 20, "b": 30}}
    assert count_reuse(several) == "7 rows, 50 reused from 2 runs"


def test_a_run_says_how_many_rows_are_new_only_if_the_config_asks() -> None:
    assert count_new(METRICS) is None
    assert count_new(METRICS | {"rows_new": None, "new_since": None}) is None
    assert count_new(METRICS | {"rows_new": 0, "new_since": "a"}) == "0 rows, since a"
    first = count_new(METRICS | {"rows_new": 57, "new_since": None})
    assert first == "57 rows, there is no earlier result to compare with"


def test_rows_that_are_missing_are_not_told_as_rejected() -> None:
    counts = {"predictions": 51, "rejects": 9, "rows_missing": 6, "shards_failed": 1}
    partial = METRICS | counts | {"partial": True}
    assert count_shards(partial) == "reused 57, made 3, failed 1; 6 rows are missing"
    assert count_rows(partial) == "60 in, 51 questions, 3 rejected, 6 missing"


def test_rejects_are_told_with_their_share_and_reasons() -> None:
    assert tell_rejects(METRICS) == "3 of 60 rows (5.0 %) rejected: not_json 2, empty_field 1"
    assert tell_rejects(METRICS | {"rejects": 0, "reject_reasons": {}}) == ""
    partial = {"rejects": 9, "rows_missing": 6, "partial": True}
    reasons = {**METRICS["reject_reasons"], "shard_failed": 4, "shard_left_out": 2}
    assert tell_rejects(METRICS | partial | {"reject_reasons": reasons}) == tell_rejects(METRICS)


def test_what_the_model_does_not_see_is_told_if_there_is_any() -> None:
    assert tell_losses(METRICS) == {}
    cut = {"cut_rows": 3, "cut": {"answer": 1, "passage_end": 2}}
    unknown = {"unknown_tokens": 7, "unknown_rows": 6}
    assert tell_losses(METRICS | cut | unknown) == {
        "cut": "3 of 60 rows (5.0 %): passage_end 2, answer 1",
        "unknown": "7 characters or words ([UNK]) in 6 of 60 rows (10.0 %)",
    }
    lines = {"multiline_rows": 3, "multiline_at": [[2, 3], [5, 9]]}
    assert tell_losses(METRICS | lines) == {"several lines": "3 (lines 2 to 3, 5 to 9 …)"}
    older = dict.fromkeys((*cut, *unknown, *lines))
    assert tell_losses(METRICS | older)["cut"].startswith("unknown: an older version")


def test_flagged_questions_are_told_if_there_are_any() -> None:
    assert tell_quality(METRICS) == {}
    flags = {"empty": 0, "duplicate": 2, "unfinished": 3}
    flagged = {"rows": 57, "flagged_rows": 4, "flags": flags, "means": {}}
    assert tell_quality(METRICS | {"quality": flagged}) == {
        "quality": "4 of 57 rows (7.0 %) flagged: unfinished 3, duplicate 2"
    }


def test_dropped_questions_are_told_apart_from_rejects_of_the_passages() -> None:
    quality = METRICS["quality"] | {"flagged_rows": 9, "flags": {"duplicate": 9}}
    reasons = {**METRICS["reject_reasons"], "quality:duplicate": 8}
    counts = {"predictions": 49, "rejects": 11, "rows_dropped": 8, "reject_reasons": reasons}
    dropped = METRICS | counts | {"quality": quality}
    assert count_rows(dropped) == "60 in, 49 questions, 3 rejected, 8 dropped"
    assert tell_rejects(dropped) == tell_rejects(METRICS)
    assert tell_quality(dropped) == {
        "quality": "9 of 57 rows (15.8 %) flagged: duplicate 9",
        "dropped": "8 of 57 rows (14.0 %): duplicate 8",
    }


def test_groups_are_told_with_their_values_and_the_smaller_ones_together() -> None:
    bleu = {"value": 86.24, "low": 80.01, "high": 90.0}
    figures = {"rows": 9, "rejects": 2, "rows_dropped": 1, "score_per_token": -0.02}
    figures |= {"flags": {"empty": 0, "duplicate": 3}, "rouge_l": None, "exact_match": None}
    groups = {
        "columns": ["source", "chapter"],
        "shown": [{**figures, "values": ["wiki", None], "bleu_4": bleu}],
        "others": {**figures, "groups": 4, "bleu_4": {**bleu, "low": None, "high": None}},
    }
    told = {"rows": 9, "rejects": 2, "dropped": 1, "flags": "duplicate 3", "score per token": -0.02}
    assert tabulate_groups(groups) == [
        {"group": "source=wiki, chapter=null", **told, "BLEU-4": "86.2 [80.0, 90.0]"},
        {"group": "4 more", **told, "BLEU-4": "86.2"},
    ]
    assert len(tabulate_groups(groups | {"others": None})) == 1


def test_a_suspect_run_says_what_is_beyond_which_limit_and_since_which_run() -> None:
    assert tell_suspicion(METRICS | {"gate": None}) == {}
    assert tell_suspicion(METRICS | {"gate": {"since": "a", "breaches": []}}) == {}
    breach = {"key": "max_rejects", "measure": "rejects", "value": 0.05, "limit": 2.0}
    breach |= {"count": 3, "rows": 60, "before": None, "p_value": None}
    gate = {"since": "a", "breaches": [breach, breach]}
    told = "rejects 3 of 60 (5.0 %); quality.max_rejects is 2 rows"
    assert tell_suspicion(METRICS | {"gate": gate}) == {
        "suspect": f"{told}; {told} (compared with run a)"
    }


def test_shards_that_were_left_out_are_neither_failed_nor_silent() -> None:
    partial = METRICS | {"shards_made": 1, "shards_left_out": 4, "partial": True}
    assert count_shards(partial | {"rows_missing": 24}) == (
        "reused 57, made 1, failed 0, left out 4; 24 rows are missing"
    )
    (row,) = tabulate_shards([replace(outcome(0), is_left_out=True)], {})
    assert (row["state"], row["last error"]) == ("left out", "")


def test_a_shard_that_was_made_after_all_does_not_look_like_one_that_failed() -> None:
    histories = {
        1: ShardHistory("made", attempts=2, last_error="WorkerError: died"),
        2: ShardHistory("failed", attempts=3, last_error="WorkerError: died"),
    }
    outcomes = [outcome(0, MANIFEST), outcome(1, MANIFEST), outcome(2, error="OSError: full")]
    rows = tabulate_shards(outcomes, histories)
    assert [list(row.values())[:3] for row in rows] == [
        [2, "failed", "OSError: full"],
        [0, "made", ""],
        [1, "made", "recovered: WorkerError: died"],
    ]
    assert list(rows[0])[:3] == ["shard", "state", "last error"]


def outcome(index: int, manifest: Manifest | None = None, error: str | None = None) -> ShardOutcome:
    nowhere = Path("nowhere")
    shard = Shard(index, count=3, start=index * 4, stop=index * 4 + 4)
    stage = StageJob(nowhere, MANIFEST, nowhere, "f", {}, batch_size=2, max_tokens_per_batch=9)
    job = ShardJob(shard, stage)
    return ShardOutcome(job, manifest, error=error)


def test_only_settings_that_are_not_the_default_are_told() -> None:
    assert told_settings(Settings()) == []
    changed = Settings(decode=DecodeSettings(num_beams=4), store=StoreSettings(path="elsewhere"))
    assert told_settings(changed) == [
        "| store.path | elsewhere | wenti-store |",
        "| decode.num\\_beams | 4 | 6 |",
    ]


def told_settings(settings: Settings) -> list[str]:
    """Return the rows of the summary's table of settings, without the header."""
    record = RunRecord.model_validate(least_record(config=settings.as_dict()))
    page = as_markdown(METRICS, [], record, Path("/runs/x"))
    table = page.partition("## Settings that differ from the default\n\n")[2].partition("\n\n")[0]
    return table.splitlines()[2:]


def test_the_summary_shows_passages_as_text() -> None:
    sample = {"context": "<script>|a\nb", "answer": "*x*", "question": "`q`?", "reference": None}
    record = RunRecord.model_validate(least_record())
    page = as_markdown(METRICS, [sample], record, Path("/runs/x"))
    assert r"| \<script\>\|a b | \*x\* | \`q\`? | – |" in page
    assert "| BLEU-4 | 41.08 |" in page
    assert "ROUGE" not in page
    assert "| report | /runs/x/report.html |" in page
