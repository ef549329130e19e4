"""Groups of files are loaded on a node of a real Ray cluster, to the byte."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.sections.cluster import ClusterSettings
from tasks.errors import InputError
from tasks.load.dataset import LoadRequest
from tasks.load.groups.load import load_files
from tasks.load.groups.nodes import Nodes
from tasks.plan.plan import PlannedCheckpoint
from tasks.store.files import storage_of
from tasks.store.manifest import Manifest, commit_manifest
from tasks.store.objects.connection import open_storage
from tests.support.load_groups import divide_by, read_bytes, request_of_folder, write_files
from tests.support.object_servers import CREDENTIALS, S3Server
from tests.support.object_stores import use_server
from tests.support.ray_cluster import VARIABLES, RayCluster, ray_cluster

pytestmark = pytest.mark.cluster

SLOW = 20_000  # rows, so that a process of this machine does not load all groups alone


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(**CREDENTIALS) as cluster:
        cluster.have("a")
        yield cluster


@pytest.fixture
def nodes(cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The nodes of a run whose export is there."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    export = PlannedCheckpoint(tmp_path / "store/exports" / ("d" * 64), "d" * 64, {})
    manifest = Manifest(kind="export", fingerprint="d" * 64, decided_by={}, files=())
    commit_manifest(export.manifest_path, manifest)
    return Nodes(ClusterSettings(address=cluster.address, wait_for_nodes_seconds=300), export)


@pytest.fixture
def request_of_files(
    load_request: LoadRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LoadRequest:
    """A request for five groups, each of which takes seconds."""
    folder = write_files(tmp_path / "in", ".jsonl")
    for path in folder.iterdir():
        line = path.read_text(encoding="utf-8").splitlines()[0]
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n" * SLOW)
    divide_by(monkeypatch, 1)
    return request_of_folder(load_request, folder)


def test_nodes_load_groups_to_the_byte(
    request_of_files: LoadRequest,
    nodes: Nodes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here = replace(request_of_files, folder=tmp_path / "datasets/x", columns=None)
    load_files(here, 1)
    there = replace(request_of_files, columns=None)
    with caplog.at_level(logging.INFO):
        load_files(there, 1, nodes)
    assert "has loaded" in caplog.text
    assert read_bytes(there) == read_bytes(here)


def test_what_fails_on_a_node_is_told_as_by_one_machine(
    request_of_files: LoadRequest, nodes: Nodes
) -> None:
    request = replace(request_of_files, on_bad_row="fail", columns=None)
    with pytest.raises(InputError) as expected:
        load_files(request, 1)
    with pytest.raises(InputError) as found:
        load_files(request, 1, nodes)
    assert str(found.value) == str(expected.value)
    assert not Path(request.folder).exists()


def test_passages_and_store_in_a_bucket_give_the_bytes_of_folders(
    request_of_files: LoadRequest,
    nodes: Nodes,
    seaweedfs: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = use_server(seaweedfs, tmp_path, monkeypatch)
    folder, given = root / "datasets" / "x", root.parent / "in"
    here = replace(request_of_files, columns=None)
    expected = load_files(here, 1)
    files = {given / path.name: path for path in (tmp_path / "in").iterdir()}
    open_storage(given).files.put(files)
    with caplog.at_level(logging.INFO):
        load_files(replace(here, predict_file=given, folder=folder), 1, nodes)
    assert "has loaded" in caplog.text
    stored = {one.name: storage_of(one).read(one) for one in storage_of(folder).list_folder(folder)}
    local = {path.name: path.read_bytes() for path in Path(here.folder).iterdir()}
    assert stored == local
    assert len(local) == len(expected.files) + 1
