from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tasks.engine.model_files import hash_model
from tasks.plan.model import find_model_faults
from tests.support.rehearsal import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample checkpoint."""
    return shutil.copytree(ROOT / "data/checkpoint", tmp_path / "model")


def test_a_checkpoint_has_no_faults_and_every_file_is_hashed(folder: Path) -> None:
    assert find_model_faults(folder) == []
    assert "model_state.pdparams" in hash_model(folder)


@pytest.mark.parametrize("name", ["notes.json", "other.pdparams", "added_tokens.json"])
def test_a_pipe_or_a_broken_link_among_the_files_is_a_fault(folder: Path, name: str) -> None:
    path = folder / name
    os.mkfifo(path)  # hashing it would wait for ever
    assert f"{name} is not a regular file" in find_model_faults(folder)[0].problem
    path.unlink()
    path.symlink_to("nowhere")
    assert f"{name} is a broken link" in find_model_faults(folder)[0].problem
    path.unlink()
    path.symlink_to(name)
    assert f"{name} is a broken link" in find_model_faults(folder)[0].problem


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"init_args": [' * 900 + "{}" + "]}" * 900])
def test_a_config_that_is_nested_too_deeply_is_a_fault(folder: Path, nested: str) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(config | {"init_args": "NESTED"}).replace('"NESTED"', f"[{nested}]")
    (folder / "config.json").write_text(text, encoding="utf-8")
    (finding,) = find_model_faults(folder)
    assert "nested too deeply" in finding.problem
