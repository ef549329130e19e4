from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.config.settings import DatasetSettings, Settings
from tasks.errors import InputError
from tasks.preview.trial import read_passage, settings_for
from tests.support.commands import wenti
from tests.support.rehearsal import ROOT


def test_a_passage_gets_the_question_of_a_run_without_a_run(store: Path) -> None:
    lines = (store / "runs/latest/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[7])
    before = {path for path in store.rglob("*") if path.is_file()}
    texts = ("--context", row["context"], "--answer", row["answer"])
    place = f"store.path={store}"
    done = wenti("try", "demo", *texts, "--set", place, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["question"], told["is_finished"]) == (row["question"], True)
    assert told["score"] == pytest.approx(row["score"], abs=1e-4)
    assert (told["cut"], told["alternatives"]) == (None, [])
    assert {path for path in store.rglob("*") if path.is_file()} == before


def test_the_passages_of_the_config_and_its_rules_on_many_rows_do_not_matter() -> None:
    settings = load_settings(
        ROOT / "configs/demo.yaml",
        [
            "dataset.predict_file=nowhere.csv",
            "dataset.fields={context: passage}",
            "dataset.max_rejected=0",
            "dataset.max_seq_len=64",
        ],
    )
    passage = read_passage(settings, "a b", "a")
    with settings_for(settings, passage) as alone:
        assert alone.dataset.file is not None
        assert json.loads(alone.dataset.file.read_text()) == {"context": "a b", "answer": "a"}
        assert alone.dataset.max_seq_len == 64
        left = alone.dataset.model_copy(update={"predict_file": None, "max_seq_len": 512})
        assert left == DatasetSettings()
        assert alone.model_copy(update={"dataset": settings.dataset}) == settings
    assert not alone.dataset.file.exists()


def test_what_would_be_rejected_is_refused() -> None:
    with pytest.raises(InputError, match="empty_field: `answer` has no visible text"):
        read_passage(Settings(), "a b", " ")
    with pytest.raises(InputError, match="template 4 takes prompts"):
        read_passage(Settings(dataset=DatasetSettings(template=4)), "a b", "a")
