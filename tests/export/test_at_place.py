"""An export that is made where it will run, by a machine that has neither model nor passages."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.engine.model_files import ModelFiles
from tasks.errors import ModelError
from tasks.export.at_place import ExportOrder
from tasks.export.build import make_export
from tasks.plan.plan import Plan, make_plan
from tests.support.rehearsal import ROOT


def plan_of(folder: Path, store: str) -> Plan:
    overrides = {
        "store.path": store,
        "model.model_name_or_path": folder / "model",
        "export.engine": "fake",
        "predict.executor": "ray",
        "predict.device": "cpu",
        "dataset.predict_file": folder / "passages.jsonl",
    }
    pairs = [f"{key}={value}" for key, value in overrides.items()]
    return make_plan(load_settings(ROOT / "configs/demo.yaml", pairs), folder / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "data/checkpoint", tmp_path / "model")
    shutil.copy(ROOT / "data/passages/heldout.jsonl", tmp_path / "passages.jsonl")
    return tmp_path


def test_a_node_makes_the_export_of_the_run_and_finds_it_the_next_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_export(plan_of(folder, str(folder / "here")))
    monkeypatch.chdir(folder)
    plan = plan_of(folder, "there")
    sent = pickle.dumps(ExportOrder.from_plan(plan))
    for name in ("model", "passages.jsonl"):
        (folder / name).rename(folder / f"{name} of another machine")
    monkeypatch.chdir("/")
    order: ExportOrder = pickle.loads(sent)  # noqa: S301 our own
    made = order.start().work("export", lambda _: None)
    assert made == expected
    found = Path(folder, "there", "exports", made.fingerprint)
    stamps = {path.name: path.stat().st_mtime_ns for path in found.iterdir()}
    assert order.start().work("export", lambda _: None) == made
    assert stamps == {path.name: path.stat().st_mtime_ns for path in found.iterdir()}


def test_a_model_that_was_replaced_after_it_was_hashed_is_not_sent(folder: Path) -> None:
    plan = plan_of(folder, str(folder / "store"))
    with (folder / "model/vocab.txt").open("a") as file:
        file.write("another\n")
    with pytest.raises(ModelError, match=r"vocab\.txt was changed"):
        ExportOrder.from_plan(plan)


def test_what_is_carried_reads_as_the_files_did(folder: Path) -> None:
    files = ModelFiles.of_model(folder / "model")
    carried = files.carried()
    before = {name: files.read(name) for name in files.sha256}
    shutil.rmtree(folder / "model")
    assert {name: carried.read(name) for name in carried.sha256} == before
    with carried.open("vocab.txt") as file:
        assert file.read() == before["vocab.txt"]
    with pytest.raises(ModelError, match="is missing"):
        carried.read("none.txt")
