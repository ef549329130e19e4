"""A job that is planned but never run: a model folder, passages and a config."""

from __future__ import annotations

from pathlib import Path

from tasks.config.loading import load_settings
from tasks.plan.plan import Plan, make_plan


def write_job(folder: Path) -> Path:
    """Write `model/`, `passages.jsonl` and `config.yaml` into a folder; return the folder."""
    (folder / "model").mkdir()
    for name in ("model_state.pdparams", "config.json", "vocab.txt"):
        (folder / "model" / name).write_text(name)
    (folder / "passages.jsonl").write_text('{"context": "a", "answer": "b"}\n')
    (folder / "config.yaml").write_text("predict: {device: cpu}")
    return folder


def plan_job(folder: Path, *overrides: str) -> Plan:
    """Return the plan of the job in a folder, with overrides."""
    passages = f"dataset.predict_file={folder / 'passages.jsonl'}"
    settings = load_settings(folder / "config.yaml", [passages, *overrides])
    return make_plan(settings, folder / "model")
