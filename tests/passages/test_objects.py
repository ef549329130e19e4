"""Passages in an object store, compared with the same files in a folder of this machine."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path, PurePath

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.addresses import ObjectPlace
from tasks.errors import InputError, ObjectStoreError, StorageError
from tasks.findings import Finding
from tasks.passages.files import find_files, hash_passages, would_find
from tasks.passages.finding.file import Given
from tasks.passages.input import Input
from tasks.passages.reader import read_passages
from tasks.store.objects import cache
from tasks.store.objects.connection import open_storage
from tasks.store.objects.files import ObjectFiles
from tests.support.object_stores import use_memory
from tests.support.passage_texts import ROW, jsonl

PLACES = [
    *("a.jsonl", "a.txt", "_a.jsonl", ".a.jsonl", "state.json", "z/a [1] 100%.jsonl"),
    *("f/a.jsonl", "f/a.txt", "_f/a.jsonl", "f/_SUCCESS", "dt=1/a.csv", "f-g/a.jsonl"),
    *("f/g/a.jsonl", "f/g/h/a.parquet", "f/.g/a.jsonl", "_dt=1/城市=北京/a.csv", "x/y.sh"),
]
ENTRIES = ["", "f", "*", "*.jsonl", "*/*", "**/*", "**", "**/a.*", "f/**/*.jsonl", "[fd]*", "f/g*"]
ENTRIES += [
    "*/a.jsonl",
    ".*",
    "_*",
    "dt=*",
    "*f/*",
    "**/g/*",
    "f/**",
    "no/*",
    "x",
    "f/a.jsonl",
]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    return use_memory(tmp_path, monkeypatch).parent


def put(place: ObjectPlace, data: bytes) -> None:
    obstore.put(open_storage(place)._bucket.client, place.key, data)


def seen(given: Given) -> list[tuple[str | None, dict[str, str | None], bytes]] | None:
    found = find_files(given)
    if isinstance(found, Finding):
        return None
    return [(one.name, dict(one.columns), one.path.read_bytes()) for one in found]


def test_what_is_found_has_the_names_and_the_content_of_the_same_files_here(
    bucket: ObjectPlace, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    for number, name in enumerate(PLACES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
        put(bucket / name, path.read_bytes())
    for entry in ENTRIES:
        assert seen(bucket / entry) == seen(folder / entry), entry
        found = find_files(bucket / entry)
        if not isinstance(found, Finding) and found[0].name is not None:
            there = {one.place for one in found}
            assert there == {
                bucket / name for name in PLACES if would_find(bucket / entry, bucket / name)
            }
            assert hash_passages(bucket / entry) == hash_passages(folder / entry)
    for several in (("f/g*", "a.jsonl", "z"), ("f/g/a.jsonl", "f/g/h/*"), ("a.jsonl",)):
        given = [tuple(base / one for one in several) for base in (bucket, folder)]
        assert seen(given[0]) == seen(given[1])
    assert not would_find(bucket, PurePath("/a.jsonl"))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW] * 3), path)


def test_every_format_is_read_as_here(bucket: ObjectPlace, tmp_path: Path) -> None:
    files = {
        "a.jsonl": jsonl(ROW).encode(),
        "b.jsonl.gz": gzip.compress(jsonl(ROW, {**ROW, "id": "2"}).encode()),
        "c.csv": f"context,answer\n{ROW['context']},{ROW['answer']}\n".encode("gb18030"),
        "e": jsonl(ROW).encode(),
    }
    as_parquet(tmp_path / "d.parquet")
    files["d.parquet"] = (tmp_path / "d.parquet").read_bytes()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        put(bucket / name, data)
        encoding = "gb18030" if name == "c.csv" else None
        there, here = (Input.find(base / name, 1, encoding) for base in (bucket, tmp_path))
        assert isinstance(there, Input)
        assert isinstance(here, Input)
        assert there.identify() == here.identify()
        rows = [list(read_passages(base / name, 1, encoding)) for base in (bucket, tmp_path)]
        assert rows[0] == rows[1]


def test_an_object_is_fetched_once_and_again_when_it_has_changed(
    bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, download = list[ObjectPlace](), ObjectFiles._download
    monkeypatch.setattr(
        ObjectFiles,
        "_download",
        lambda self, file, path: (fetched.append(file.place), download(self, file, path)),
    )
    place = bucket / "a.jsonl"
    put(place, b"1")
    first = hash_passages(place)
    assert hash_passages(place) == first
    put(place, b"2")
    assert hash_passages(place) != first
    assert fetched == [place, place]


def test_what_is_wrong_with_an_object_names_its_address(bucket: ObjectPlace) -> None:
    put(bucket / "f/a.jsonl", b'{"context": "a"}\n')
    put(bucket / "f/b.csv", b'context,answer\na,"b\n')
    put(bucket / "g/run.sh", b"1")
    for entry, told in {
        "f/a.jsonl": "passages without answers",
        "none.jsonl": "no such file or folder",
        "no/*.jsonl": "no file matches this pattern",
        "g": "a folder without a file of passages, but with run.sh",
    }.items():
        found = Input.find(bucket / entry)
        assert isinstance(found, Finding)
        assert str(found).startswith(f"dataset.predict_file: {bucket / entry}")
        assert told in str(found)
    with pytest.raises(InputError, match=rf"{bucket}/f/b\.csv: .* has no end"):
        list(read_passages(bucket / "f/b.csv", 1))
    both = find_files((bucket / "f/a.jsonl", Path("/a.jsonl")))
    assert "name files of one kind" in str(both)


def test_a_store_that_refuses_is_a_fault_and_one_that_is_away_may_come_back(
    bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_(error: Exception) -> None:
        raise error

    refused = StorageError("cannot read s3://b/a.jsonl: permission denied")
    monkeypatch.setattr(ObjectFiles, "find", lambda *_: raise_(refused))
    assert "permission denied" in str(find_files(bucket / "a.jsonl"))
    monkeypatch.setattr(ObjectFiles, "find", lambda *_: raise_(ObjectStoreError("away")))
    with pytest.raises(ObjectStoreError):
        find_files(bucket / "a.jsonl")


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tasks.store.objects.bucket", None)
    told = str(find_files(ObjectPlace("s3://no-passages-before/a.jsonl")))
    assert "dataset.predict_file: " in told
    assert "pip install 'wenti[s3]'" in told


def test_a_disk_without_room_for_the_copies_is_told_before_they_are_made(
    bucket: ObjectPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(bucket / "a.jsonl", b"12345")
    full = type("Usage", (), {"free": 4})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: full)
    told = str(find_files(bucket / "a.jsonl"))
    assert "0.0 MB for copies" in told
    assert "store.cache" in told
    assert not list(tmp_path.rglob("a.jsonl"))
