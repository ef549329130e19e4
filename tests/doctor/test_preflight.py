"""What the preflight says about the passages, the model, whatever saved or named it, the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.doctor.diagnosis import diagnose
from tasks.doctor.preflight import find_config_faults, find_model_warnings
from tasks.engine.models.registry import QUESTION_MODELS
from tasks.plan.model import locate_model
from tasks.plan.plan import open_store
from tests.support.engine_reference import Recipe, make_checkpoint
from tests.support.older_checkpoints import LAYOUTS, write_layout
from tests.support.rehearsal import ROOT

NAME = QUESTION_MODELS[0]


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
    settings = load_settings(
        ROOT / "configs/demo.yaml", [*asked, "dataset.max_seq_len=65", "decode.max_dec_len=65"]
    )
    (of_questions,) = map(str, find_config_faults(settings))
    assert "decode.max_dec_len: 65 exceeds" in of_questions
    assert "at most 64" in of_questions


def settings_with(tmp_path: Path, model: str, *overrides: str) -> Settings:
    asked = [
        f"store.path={tmp_path / 'store'}",
        f"dataset.predict_file={ROOT / 'data/passages/heldout.jsonl'}",
        f"model.model_name_or_path={model}",
    ]
    asked += overrides
    return load_settings(ROOT / "configs/demo.yaml", asked)


@pytest.mark.parametrize("name", ["path/to/checkpoint", "models", "unimo", "é #1"])
def test_what_is_neither_a_folder_nor_a_model_of_paddlenlp_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (fault,) = map(str, find_config_faults(settings_with(tmp_path, name)))
    assert f"there is no folder {tmp_path / name}, and PaddleNLP has no model of the name" in fault
    assert "Give the folder" in fault


def test_a_name_that_is_nearly_one_of_paddlenlps_models_is_suggested(tmp_path: Path) -> None:
    (fault,) = map(str, find_config_faults(settings_with(tmp_path, NAME[:-1])))
    assert f"did you mean {NAME}?" in fault


def test_names_of_models_are_accepted(tmp_path: Path) -> None:
    for name in (*QUESTION_MODELS, "unimo-text-1.0"):
        assert find_config_faults(settings_with(tmp_path, name)) == []


def test_an_unknown_name_is_accepted_if_the_store_has_its_model(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "somebody/model")
    assert len(find_config_faults(settings)) == 1
    make_checkpoint(
        locate_model(settings, open_store(settings)),
        Recipe(0, vocab_size=50, hidden_size=16, max_position_embeddings=512),
    )
    assert find_config_faults(settings) == []


def test_a_model_that_was_not_trained_for_questions_is_warned_of(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "unimo-text-1.0")
    (warning,) = find_model_warnings(settings)
    assert warning.severity == "warning"
    assert warning in diagnose(settings)
    assert find_config_faults(settings) == []
    assert find_model_warnings(settings_with(tmp_path, NAME)) == []


def test_the_default_and_the_shipped_job_name_a_model_that_writes_questions() -> None:
    shipped = load_settings(ROOT / "configs/dureader_qg.yaml")
    for settings in (shipped, Settings()):
        assert settings.model.model_name_or_path in QUESTION_MODELS


def test_a_downloaded_model_is_checked_like_a_folder(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, NAME, "dataset.max_seq_len=65")
    folder = locate_model(settings, open_store(settings))
    recipe = Recipe(0, vocab_size=50, hidden_size=16, max_position_embeddings=63)
    make_checkpoint(folder, recipe)
    (fault,) = map(str, find_config_faults(settings))
    assert "dataset.max_seq_len: 65 exceeds" in fault


def test_configs_of_the_time_of_trust_are_read(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, NAME, "model.trust_checkpoint=true")
    assert "trust_checkpoint" not in settings.as_dict()["model"]


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
