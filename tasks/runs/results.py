"""The names of the files in a run's folder."""

from __future__ import annotations

from pathlib import PurePath

from tasks.store.files import storage_of

PREDICTIONS_FILE = "predictions.parquet"
PARTS_FOLDER = "predictions"
"""What a run of many rows has instead of that file: a table in parts (`tasks.store.parted`)."""

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


def find_predictions(folder: PurePath) -> PurePath:
    """Return where a run's predictions are: `PREDICTIONS_FILE`, or else `PARTS_FOLDER`.

    Neither is there before the run writes them; then it is the former.
    """
    file, parts = folder / PREDICTIONS_FILE, folder / PARTS_FOLDER
    storage = storage_of(folder)
    return parts if not storage.is_file(file) and storage.exists(parts) else file
