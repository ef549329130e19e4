"""What the preflight says about models saved by any version of PaddleNLP."""

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
