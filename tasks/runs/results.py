"""The names of the files in a run's folder."""

from __future__ import annotations

PREDICTIONS_FILE = "predictions.parquet"
LINES_FILE = "predictions.jsonl"
TEXT_FILE = "predictions.txt"
QUESTIONS_FILE = "questions.parquet"
QUALITY_FILE = "quality.parquet"
NEW_PREDICTIONS_FILE = "predictions_new.parquet"
NEW_LINES_FILE = "predictions_new.jsonl"

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
SUCCESS_FILE = "_SUCCESS"
METADATA_KEY = "wenti.partial"
