"""A model, vocabulary or library that is replaced between planning and use ends the stage.

Otherwise a wrong result would be stored under the fingerprint of the old file, and `wenti verify`
would find it whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.engine.faster_transformer.export import Operators, export_faster_transformer
from tasks.errors import ExportError, InputError, ModelError
from tasks.export.build import copy_export, make_export
from tasks.load.dataset import load_passages, make_request, read_sample
from tasks.plan.plan import Plan, make_plan
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.worker_process import load_generator
from tests.support.rehearsal import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model, passages and an empty store."""
    shutil.copytree(ROOT / "data/checkpoint", tmp_path / "model")
    text = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8")
    (tmp_path / "passages.jsonl").write_text("\n".join(text.splitlines()[:5]), encoding="utf-8")
    return tmp_path


def plan_of(folder: Path, engine: str = "fake") -> Plan:
    settings = load_settings(
        ROOT / "configs/demo.yaml",
        [
            f"store.path={folder / 'store'}",
            f"model.model_name_or_path={folder / 'model'}",
            f"dataset.predict_file={folder / 'passages.jsonl'}",
            f"export.engine={engine}",
        ],
    )
    return make_plan(settings, folder / "model")


def replace_vocabulary(folder: Path) -> None:
    """Exchange the ids of two characters, in a new file under the name of the old one."""
    path = folder / "model/vocab.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    tokens = [line.partition("\t")[0] for line in lines]
    tokens[-1], tokens[-2] = tokens[-2], tokens[-1]
    path.unlink()
    ids = (line.partition("\t")[2] for line in lines)
    text = "".join(f"{token}\t{index}\n" for token, index in zip(tokens, ids, strict=True))
    path.write_text(text, encoding="utf-8")


def replace_weights(folder: Path) -> None:
    path = folder / "model/model_state.pdparams"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def committed(folder: Path) -> list[Path]:
    return [path for path in (folder / "store").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("engine", "replace", "name"),
    [
        ("fake", replace_vocabulary, "vocab.txt"),
        ("native", replace_weights, "model_state.pdparams"),
    ],
)
def test_an_export_commits_nothing(
    folder: Path, engine: str, replace: Callable[[Path], None], name: str
) -> None:
    plan = plan_of(folder, engine)
    replace(folder)
    with pytest.raises(ModelError, match=rf"{name} was changed after the run had begun; run again"):
        make_export(plan)
    assert committed(folder) == []


def test_loading_commits_nothing(folder: Path) -> None:
    request = make_request(plan_of(folder))
    replace_vocabulary(folder)
    with pytest.raises(ModelError, match=r"vocab.txt was changed"):
        load_passages(request)
    assert committed(folder) == []


def test_a_worker_does_not_start(folder: Path) -> None:
    plan = plan_of(folder)
    make_export(plan)
    load_generator(WorkerOrder.from_plan(plan, "cpu"), "cpu")
    replace_vocabulary(folder)
    with pytest.raises(ModelError, match=r"vocab.txt was changed"):
        load_generator(WorkerOrder.from_plan(plan, "cpu"), "cpu")


def test_the_copy_of_an_export_gets_no_other_vocabulary(folder: Path) -> None:
    plan = plan_of(folder)
    manifest = make_export(plan)
    replace_vocabulary(folder)
    with pytest.raises(ModelError, match=r"vocab.txt was changed"):
        copy_export(plan, manifest, folder / "copy")
    assert not (folder / "copy/manifest.json").exists()


def test_passages_to_try_an_export_on_are_those_that_were_hashed(folder: Path) -> None:
    request = make_request(plan_of(folder))
    with (folder / "passages.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"context": "长江很长。", "answer": "长江"}')
    with pytest.raises(InputError, match="changed while it was read"):
        read_sample(request, 3)


def test_a_library_of_operators_is_the_one_that_was_hashed(folder: Path) -> None:
    library, plan = folder / "libdecoding_op.so", plan_of(folder)
    library.write_bytes(b"another library")
    (folder / "export").mkdir()
    operators = Operators(library, is_half=False, device="cpu", sha256="0" * 64)
    decode = plan.settings.decode
    with pytest.raises(ExportError, match=r"libdecoding_op.so was changed after the run had begun"):
        export_faster_transformer(plan.model_files, decode, folder / "export", operators=operators)
