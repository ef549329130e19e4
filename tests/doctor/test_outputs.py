"""Addresses of results, checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.addresses import ObjectPlace
from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.doctor.outputs import OUTPUT, check_deliveries
from tasks.doctor.places import find_place_faults
from tasks.errors import StorageError
from tasks.output.folder import SETTING as DATA_SET
from tasks.store.objects.connection import open_storage
from tasks.store.objects.files import ObjectFiles
from tests.support.object_stores import use_memory

STORE, PASSAGES = "s3://bucket/wenti", "s3://bucket/in/*.parquet"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("export: {engine: fake}\n", encoding="utf-8")
    return path


def settings_of(config: Path, **places: object) -> Settings:
    keys = {"output": OUTPUT, "data": DATA_SET}
    given = {
        "model.model_name_or_path": config.parent,
        "store.path": STORE,
        "dataset.predict_file": PASSAGES,
        **{keys.get(name, name): place for name, place in places.items()},
    }
    return load_settings(config, [f"{key}={value}" for key, value in given.items()])


def faults_of(config: Path, **places: str) -> dict[str, str]:
    found = find_place_faults(settings_of(config, **places))
    return {fault.key: fault.problem for fault in found}


def test_addresses_that_nothing_else_has_are_no_fault(config: Path) -> None:
    assert faults_of(config, output="s3://bucket/in/q.txt", data="s3://bucket/out") == {}
    assert faults_of(config, output="/tmp/q.txt", data="s3://other/wenti") == {}  # noqa: S108


@pytest.mark.parametrize(
    ("name", "place", "told"),
    [
        ("output", "s3://bucket", "is a bucket"),
        ("data", "s3://bucket", "is a bucket"),
        ("data", "az://container", "is a container"),
        ("output", f"{STORE}/runs/q.txt", "is inside the store"),
        ("data", STORE, "is inside the store"),
        ("data", "s3://bucket/in", "in it, or is it, which the run reads"),
        ("output", "s3://bucket/in/q.parquet", "where dataset.predict_file finds files"),
    ],
)
def test_an_address_that_something_else_has_is_refused(
    config: Path, name: str, place: str, told: str
) -> None:
    faults = faults_of(config, **{name: place})
    assert list(faults) == [OUTPUT if name == "output" else DATA_SET]
    assert told in faults.popitem()[1]


def test_one_server_is_not_that_of_two_kinds_of_object_stores(config: Path) -> None:
    places = {"output": "az://out/q.txt"}
    assert faults_of(config, **places) == {}
    faults = faults_of(config, **places, **{"store.endpoint": "https://s3.example.com"})
    assert faults == {
        "store.endpoint": "it is the server of all addresses, but they are az:// and s3://"
    }


def test_passages_and_a_data_set_do_not_hold_the_store(config: Path) -> None:
    keys = faults_of(config, data="s3://bucket/a", **{"store.path": "s3://bucket/a/store"})
    assert "contains the store" in keys[DATA_SET]
    keys = faults_of(config, **{"dataset.predict_file": "s3://bucket"})
    assert "has the store in it" in keys["dataset.predict_file"]


def test_it_is_tried_whether_an_address_can_be_written_and_nothing_is_left(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = use_memory(tmp_path, monkeypatch).parent
    files = open_storage(folder).files
    settings = settings_of(config, output=folder / "q.txt", data=folder / "out")
    assert {one.severity for one in check_deliveries(settings)} == {"ok"}
    assert files.below(folder) == []
    files.put({folder / "out/mine.csv": b"1", folder / "q.txt/a": b"1"})
    told = {one.key: one.problem for one in check_deliveries(settings)}
    assert told[DATA_SET].endswith("holds mine.csv, which Wenti did not write")
    assert told[OUTPUT].endswith("q.txt is a folder")

    def refuse(_self: ObjectFiles, probe: ObjectPlace) -> None:
        raise StorageError(f"cannot write {probe}: permission denied")

    monkeypatch.setattr(ObjectFiles, "check_writable", refuse)
    files.delete(folder, [folder / "out/mine.csv", folder / "q.txt/a"])
    found = check_deliveries(settings)
    assert [one.severity for one in found] == ["fault", "fault"]
    assert all("permission denied" in one.problem for one in found)
