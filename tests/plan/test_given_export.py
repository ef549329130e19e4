"""An export in `export.inference_model_dir` in the place of a model without weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.doctor.places import find_place_faults
from tasks.doctor.preflight import find_config_faults, find_model_warnings
from tasks.engine.contract import read_contract, write_contract
from tasks.errors import ExportError
from tasks.export.build import copy_export, make_export
from tasks.plan.given_export import locate_given_export
from tasks.plan.model import get_model
from tasks.plan.plan import Plan, make_plan, open_store
from tasks.store.manifest import MANIFEST, Manifest
from tests.support.rehearsal import ROOT

CHECKPOINT = ROOT / "data/checkpoint"


def settings_of(folder: Path, *overrides: str) -> Settings:
    places = {
        "store.path": folder / "store",
        "model.model_name_or_path": folder / "model",
        "export.inference_model_dir": folder / "copy",
        "export.engine": "auto",
    }
    asked = [f"{key}={value}" for key, value in places.items()]
    return load_settings(ROOT / "configs/demo.yaml", [*asked, *overrides])


def plan_of(settings: Settings) -> Plan:
    return make_plan(settings, get_model(settings, open_store(settings)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a copy of its export by the fake engine, and the store of both."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(CHECKPOINT, folder / "model")
    plan = plan_of(settings_of(folder, "export.engine=fake"))
    copy_export(plan, make_export(plan), folder / "copy")
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "job")


def drop_weights(folder: Path) -> None:
    (folder / "model/model_state.pdparams").unlink()


def faults(settings: Settings) -> list[str]:
    return [str(fault) for fault in find_config_faults(settings) if fault.severity == "fault"]


def test_a_copy_has_what_is_needed_to_predict(folder: Path) -> None:
    (export,) = (folder / "store/exports").iterdir()
    files = {path.name: path.read_bytes() for path in export.iterdir()}
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "config.json"):
        files[name] = (CHECKPOINT / name).read_bytes()
    assert {path.name: path.read_bytes() for path in (folder / "copy").iterdir()} == files


def test_a_copy_keeps_no_file_of_an_earlier_tokenizer(folder: Path) -> None:
    (folder / "copy/added_tokens.json").write_text('{"more": 9999}')
    plan = plan_of(settings_of(folder, "export.engine=fake"))
    copy_export(
        plan, Manifest.from_bytes((folder / "copy" / MANIFEST).read_bytes()), folder / "copy"
    )
    assert not (folder / "copy/added_tokens.json").exists()


@pytest.mark.parametrize("model", ["gone", "a tokenizer", "an unknown name"])
def test_without_weights_the_export_is_used_and_this_is_said(
    folder: Path, exported: Path, model: str
) -> None:
    expected = plan_of(settings_of(exported, "export.engine=fake"))
    if model == "a tokenizer":
        drop_weights(folder)
    else:
        shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "store")
    name = "no-such-model" if model == "an unknown name" else folder / "model"
    settings = settings_of(folder, f"model.model_name_or_path={name}")
    assert faults(settings) == []
    assert find_place_faults(settings) == []
    (warning,) = find_model_warnings(settings)
    assert f"has no weights, so the export in {folder / 'copy'} is used" in str(warning)
    plan = plan_of(settings)
    assert plan.engine == "fake"
    for stage in ("export", "dataset", "predictions"):
        assert getattr(plan, stage).fingerprint == getattr(expected, stage).fingerprint, stage
    assert make_export(plan).files == expected.export.find().manifest.files  # type: ignore[union-attr]
    assert plan.export.find().manifest is not None


@pytest.mark.parametrize("name", [None, "unimo-text-1.0-dureader_qg"])
def test_with_weights_the_model_is_exported(folder: Path, name: str | None) -> None:
    overrides = [] if name is None else [f"model.model_name_or_path={name}"]
    settings = settings_of(folder, *overrides)
    assert locate_given_export(settings) is None
    assert find_model_warnings(settings) == []


def test_an_older_copy_uses_the_tokenizer_of_the_model_if_it_is_the_same(folder: Path) -> None:
    drop_weights(folder)
    for path in [*(folder / "copy").glob("*.txt"), *(folder / "copy").glob("*token*")]:
        path.unlink()
    settings = settings_of(folder)
    assert faults(settings) == []
    assert plan_of(settings).model_folder == folder / "model"
    vocabulary = folder / "model/vocab.txt"
    vocabulary.write_text(vocabulary.read_text(encoding="utf-8") + "多\t9999\n", encoding="utf-8")
    (fault,) = faults(settings)
    assert f"{vocabulary} is not that of the exported model" in fault


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("decode.num_beams=3", "decode.num_beams: 3, but the export in .* was made with 6"),
        ("decode.max_dec_len=9", "decode.max_dec_len: 9, but .* was made with 20"),
        ("decode.decoding_strategy=sampling", "decode.decoding_strategy: sampling, but .*beam_se"),
        ("decode.length_penalty=1.0", "decode.length_penalty: 1.0, but .* was made with 1.2"),
        ("export.engine=native", "export.engine: native, but .* was made with fake"),
        ("export.use_fp16_decoding=true", "export.use_fp16_decoding: True, but .* with False"),
        ("dataset.max_seq_len=70000", "dataset.max_seq_len: 70000 exceeds .* at most 65537"),
    ],
)
def test_a_config_that_does_not_fit_the_export_is_refused(
    folder: Path, override: str, expected: str
) -> None:
    drop_weights(folder)
    found = faults(settings_of(folder, override))
    assert any(re.search(expected, fault) for fault in found), found


def test_options_that_are_not_part_of_the_graph_are_free(folder: Path) -> None:
    drop_weights(folder)
    free = ("decode.seed=7", "decode.topk=9", "predict.batch_size=2", "dataset.template=0")
    assert faults(settings_of(folder, *free)) == []


@pytest.mark.parametrize("harm", ["cut", "seal", "kind", "no vocabulary", "more tokens"])
def test_a_folder_that_is_no_whole_export_is_refused(folder: Path, harm: str) -> None:
    drop_weights(folder)
    path = folder / "copy" / MANIFEST
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif harm == "seal":
        path.write_text(path.read_text().replace('"num_beams": 6', '"num_beams": 5'))
    elif harm == "kind":
        manifest = Manifest.from_bytes(path.read_bytes())
        path.write_bytes(manifest.model_copy(update={"kind": "dataset"}).to_bytes())
    elif harm == "no vocabulary":
        (folder / "copy/vocab.txt").unlink()
        (folder / "model/vocab.txt").unlink()
    else:
        (folder / "copy/added_tokens.json").write_text('{"more": 9999}')
    assert any("export.inference_model_dir" in fault for fault in faults(settings_of(folder)))


def test_a_file_that_is_not_that_of_the_manifest_is_not_taken_into_the_store(
    folder: Path,
) -> None:
    drop_weights(folder)
    shutil.rmtree(folder / "store")
    contract = read_contract(folder / "copy")
    write_contract(contract.model_copy(update={"paddle_version": "another"}), folder / "copy")
    with pytest.raises(ExportError, match=r"contract\.json differs from what"):
        make_export(plan_of(settings_of(folder)))
    assert not list((folder / "store").rglob("*.json"))


def test_a_manifest_names_no_file_outside_its_folder(folder: Path) -> None:
    drop_weights(folder)
    path = folder / "copy" / MANIFEST
    manifest = Manifest.from_bytes(path.read_bytes())
    (entry,) = manifest.files
    outside = entry.model_copy(update={"name": f"../{entry.name}"})
    path.write_bytes(manifest.model_copy(update={"files": (outside,)}).to_bytes())
    assert any("is not the manifest of an export" in fault for fault in faults(settings_of(folder)))


def test_a_library_in_an_export_is_loaded_only_if_the_config_names_it(folder: Path) -> None:
    drop_weights(folder)
    library = folder / "copy/libdecoding_op.so"
    library.write_bytes(b"code")
    contract = read_contract(folder / "copy")
    write_contract(contract.model_copy(update={"operator_library": library.name}), folder / "copy")
    assert any("export.decoding_lib" in fault for fault in faults(settings_of(folder)))


def test_a_folder_of_an_export_as_the_model_is_told_the_right_key(folder: Path) -> None:
    overrides = (
        f"model.model_name_or_path={folder / 'copy'}",
        "export.inference_model_dir=null",
    )
    (fault,) = faults(settings_of(folder, *overrides))
    assert "it is an export: to predict with it, set `export.inference_model_dir` to it" in fault
