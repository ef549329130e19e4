"""What the preflight says about the passages, the model, whatever saved or named it, the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.doctor.preflight import find_config_faults
from tasks.engine.models.download import list_models
from tasks.plan.model import locate_model
from tasks.store.layout import Store
from tests.support.engine_reference import Recipe, make_checkpoint
from tests.support.older_checkpoints import LAYOUTS, write_layout
from tests.support.rehearsal import ROOT


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_longer_than_a_model_has_positions_for_are_refused(
    layout: str, tmp_path: Path
) -> None:
    recipe = Recipe(0, vocab_size=50, hidden_size=16, max_position_embeddings=64)
    checkpoint = make_checkpoint(tmp_path / "checkpoint", recipe)
    write_layout(checkpoint, layout)
    asked = [f"model.model_name_or_path={checkpoint}", f"store.path={tmp_path / 'store'}"]

    def faults(longest: int) -> list[str]:
        override = f"dataset.max_seq_len={longest}"
        settings = load_settings(ROOT / "configs/demo.yaml", [*asked, override])
        return [str(fault) for fault in find_config_faults(settings)]

    assert faults(65) == []
    (fault,) = faults(512)
    assert "dataset.max_seq_len" in fault
    assert "512 exceeds the model's number of positions; allowed here: at most 65" in fault


def test_a_file_of_passages_is_explained_together_with_the_other_faults(tmp_path: Path) -> None:
    passages = tmp_path / "passages.csv"
    passages.write_text("context,answer\n长江是中国最长的河流。,长江\n", encoding="gb18030")
    asked = [
        f"model.model_name_or_path={tmp_path / 'none'}",
        f"dataset.predict_file={passages}",
        f"store.path={passages}",
    ]
    faults = find_config_faults(load_settings(ROOT / "configs/demo.yaml", asked))
    assert {fault.key for fault in faults} >= {"dataset.predict_file", "store.path"}
    assert any("looks like GB18030" in fault.problem for fault in faults)
    assert any("none" in fault.problem for fault in faults)


def faults_of(tmp_path: Path, *overrides: str) -> list[str]:
    store = f"store.path={tmp_path / 'store'}"
    passages = f"dataset.predict_file={ROOT / 'data/passages/heldout.jsonl'}"
    settings = load_settings(ROOT / "configs/demo.yaml", [store, passages, *overrides])
    return [str(fault) for fault in find_config_faults(settings)]


@pytest.mark.parametrize("name", ["path/to/checkpoint", "path/to/model", "models", "unimo", "é #1"])
def test_what_is_neither_a_folder_nor_a_model_of_paddlenlp_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (fault,) = faults_of(tmp_path, f"model.model_name_or_path={name}")
    assert f"there is no folder {tmp_path / name}, and PaddleNLP has no model of the name" in fault
    assert "unimo-text-1.0" in fault
    assert "model.trust_checkpoint" in fault


def test_a_name_that_is_nearly_one_of_paddlenlps_models_is_suggested(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "model.model_name_or_path=unimo-text-1.0-dureader-qg")
    assert "did you mean unimo-text-1.0-dureader_qg?" in fault


def test_names_of_models_are_accepted(tmp_path: Path) -> None:
    assert len(list_models()) >= 8
    for name in list_models():
        assert faults_of(tmp_path, f"model.model_name_or_path={name}") == []


def test_a_model_of_somebody_else_needs_trust_unless_the_store_has_it(tmp_path: Path) -> None:
    named = "model.model_name_or_path=somebody/model"
    assert len(faults_of(tmp_path, named)) == 1
    assert faults_of(tmp_path, named, "model.trust_checkpoint=true") == []
    settings = load_settings(ROOT / "configs/demo.yaml", [named])
    folder = locate_model(settings, Store(tmp_path / "store"))
    folder.mkdir(parents=True)
    (folder / "manifest.json").touch()
    assert faults_of(tmp_path, named) == []
