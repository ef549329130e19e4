"""What the preflight says about the passages, and models saved by any version of PaddleNLP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.doctor.preflight import find_config_faults
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
