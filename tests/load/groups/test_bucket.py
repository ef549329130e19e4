"""Groups of files in a bucket, with their dataset: what places on nodes do, without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.load.dataset import LoadRequest
from tasks.load.groups.division import find_groups
from tasks.load.groups.load import load_files
from tasks.load.groups.nodes import GroupsOrder
from tasks.load.groups.work import Load
from tasks.store.files import storage_of
from tasks.store.manifest import Manifest
from tasks.store.objects.connection import open_storage
from tests.support.load_groups import divide_by, request_of_folder, write_files
from tests.support.object_servers import S3Server
from tests.support.object_stores import use_server

pytestmark = pytest.mark.s3


def test_a_bucket_gives_the_bytes_of_folders_and_groups_of_places_are_used(
    load_request: LoadRequest,
    seaweedfs: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_of_folder(load_request, write_files(tmp_path / "in", ".jsonl"))
    here = replace(request, columns=None)
    divide_by(monkeypatch, 6000)
    load_files(here, 1)
    root = use_server(seaweedfs, tmp_path, monkeypatch)
    folder, given = root / "datasets" / "x", root.parent / "in"
    files = {given / path.name: path for path in (tmp_path / "in").iterdir()}
    open_storage(given).files.put(files)
    there = replace(here, predict_file=given, folder=folder)

    first, *_ = find_groups(there)
    made = GroupsOrder.of(there).start().work(Load(first, 0, None), print)
    assert isinstance(made, Manifest)
    load_files(there, 1)
    stored = {one.name: storage_of(one).read(one) for one in storage_of(folder).list_folder(folder)}
    assert stored == {path.name: path.read_bytes() for path in Path(here.folder).iterdir()}
