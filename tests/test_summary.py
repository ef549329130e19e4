from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.settings import DecodeSettings, Settings
from tasks.summary import as_markdown, changed_settings, count_rows, count_shards

METRICS: dict[str, Any] = {
    "rows_in": 60,
    "predictions": 57,
    "rejects": 3,
    "partial": False,
    "rows_missing": 0,
    "shards_reused": 57,
    "shards_made": 3,
    "shards_failed": 0,
    "bleu_4": 41.08,
    "rouge_l": None,
    "sacrebleu_zh": None,
    "rows_per_second": None,
    "padding_share": 0.042,
    "stage_seconds": {"export": 1.5, "load": 2.0},
}


def test_a_run_says_what_it_reused_made_and_lacks() -> None:
    assert count_shards(METRICS) == "reused 57, made 3, failed 0"
    partial = METRICS | {"partial": True, "rows_missing": 6, "shards_failed": 1}
    assert count_shards(partial) == "reused 57, made 3, failed 1; 6 rows are missing"
    assert count_rows(METRICS) == "60 in, 57 questions, 3 rejected"


def test_only_settings_that_are_not_the_default_are_told() -> None:
    settings = Settings(decode=DecodeSettings(num_beams=4))
    assert changed_settings(settings) == {"decode.num_beams": (4, 6)}
    assert changed_settings(Settings()) == {}


def test_the_summary_shows_passages_as_text() -> None:
    sample = {"context": "<script>|a\nb", "answer": "*x*", "question": "`q`?", "reference": None}
    page = as_markdown(METRICS, [sample], Settings(), Path("/runs/x"))
    assert r"| \<script\>\|a b | \*x\* | \`q\`? | – |" in page
    assert "| BLEU-4 | 41.08 |" in page
    assert "ROUGE" not in page
    assert "| report | /runs/x/report.html |" in page
