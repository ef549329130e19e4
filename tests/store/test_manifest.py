from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StorageError, StoreCorruptionError
from tasks.store.files import adopt_file, commit_bytes, commit_file, staging_folder
from tasks.store.manifest import (
    Manifest,
    commit_manifest,
    find_checkpoint,
    fingerprint,
    read_manifest,
)
from tasks.store.tables import REJECTS, commit_table, read_batches

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def make_checkpoint(folder: Path, content: bytes = b"content") -> Manifest:
    entry = commit_bytes(folder / "file", content)
    decided_by = {"stage": "test"}
    manifest = Manifest(
        kind="test", fingerprint=fingerprint(decided_by), decided_by=decided_by, files=(entry,)
    )
    commit_manifest(folder / "manifest.json", manifest)
    return manifest


@given(st.dictionaries(st.text(), JSON))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(values: dict[str, object]) -> None:
    assert fingerprint(values) == fingerprint(dict(reversed(values.items())))


@given(st.dictionaries(st.text(), JSON), st.text(), st.integers())
def test_another_value_gives_another_fingerprint(
    values: dict[str, object], key: str, number: int
) -> None:
    assert fingerprint({**values, key: number}) != fingerprint({**values, key: number + 1})


def test_a_failed_write_leaves_neither_the_file_nor_a_temporary_one(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        commit_file(tmp_path / "file", write)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_committed_version(tmp_path: Path) -> None:
    commit_bytes(tmp_path / "file", b"old")
    with pytest.raises(ZeroDivisionError):
        commit_file(tmp_path / "file", lambda path: path.write_bytes(bytes([1 // 0])))
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_failing_table_leaves_no_truncated_parquet_file(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([], schema=REJECTS)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        commit_table(tmp_path / "table.parquet", REJECTS, batches())
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_found_with_its_fingerprint_only(tmp_path: Path) -> None:
    manifest = make_checkpoint(tmp_path)
    path = tmp_path / "manifest.json"
    assert find_checkpoint(path, manifest.fingerprint).manifest == manifest
    other = find_checkpoint(path, fingerprint({"stage": "other"}))
    assert other.manifest is None
    assert "another fingerprint" in str(other.damage)
    assert find_checkpoint(tmp_path / "none.json", manifest.fingerprint).damage is None


def test_a_file_that_was_moved_away_and_linked_back_is_whole(tmp_path: Path) -> None:
    manifest = make_checkpoint(tmp_path / "c")
    path = tmp_path / "c" / manifest.files[0].name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert find_checkpoint(tmp_path / "c" / "manifest.json", manifest.fingerprint).manifest


def test_without_its_manifest_a_checkpoint_is_not_there(tmp_path: Path) -> None:
    manifest = make_checkpoint(tmp_path)
    (tmp_path / "manifest.json").unlink()
    found = find_checkpoint(tmp_path / "manifest.json", manifest.fingerprint)
    assert (found.manifest, found.damage) == (None, None)


@given(data=st.data(), name=st.sampled_from(["file", "manifest.json"]))
def test_every_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    manifest = make_checkpoint(folder, b"some bytes to damage")
    damaged = bytearray((folder / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    (folder / name).write_bytes(damaged)
    found = find_checkpoint(folder / "manifest.json", manifest.fingerprint)
    assert found.manifest is None or found.manifest == manifest  # the bit was in white space
    if name == "file":
        assert "differs from what was committed" in str(found.damage)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"seal": 1}', b"\xff"])
def test_rubbish_instead_of_a_manifest_is_damage_and_no_crash(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(StoreCorruptionError, match="is damaged"):
        read_manifest(tmp_path / "manifest.json", "0" * 64)


def test_a_missing_or_shortened_file_is_damage_that_names_it(tmp_path: Path) -> None:
    manifest = make_checkpoint(tmp_path)
    (tmp_path / "file").write_bytes(b"cont")
    damage = find_checkpoint(tmp_path / "manifest.json", manifest.fingerprint).damage
    assert damage == f"{tmp_path / 'file'} differs from what was committed"
    (tmp_path / "file").unlink()
    damage = find_checkpoint(tmp_path / "manifest.json", manifest.fingerprint).damage
    assert damage == f"{tmp_path / 'file'} is missing"


def test_committing_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "a")
    make_checkpoint(tmp_path / "b")
    for name in ("file", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


STAGE = """
import sys
from pathlib import Path
from tasks.store.files import staging_folder

with staging_folder(Path({folder!r})) as staging:
    (staging / "part").write_bytes(b"content")
    print(staging, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_has_staged_goes_with_the_next_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "dataset"
    command = [sys.executable, "-c", STAGE.format(folder=str(folder))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        staged = Path(process.stdout.readline().strip())
        for _ in range(2):
            with staging_folder(folder), staging_folder(folder):
                assert len(list(folder.iterdir())) == 3
            assert (staged / "part").exists()
        process.kill()
    assert staged.exists()
    with staging_folder(folder) as staging:
        assert list(folder.iterdir()) == [staging]


def test_staged_files_get_their_names_and_the_staging_folder_goes(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    with staging_folder(folder) as staging:
        (staging / "file").write_bytes(b"content")
        adopt_file(staging / "file", folder / "final")
    assert [path.name for path in folder.iterdir()] == ["final"]


def test_a_failure_while_staging_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staging_folder(tmp_path / "new" / "folder") as staging:
        (staging / "file").write_bytes(bytes([1 // 0]))
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_a_table_that_changed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    rows = [{"row": n, "reason": "not_json", "detail": "x" * 50} for n in range(100)]
    commit_table(path, REJECTS, [pa.RecordBatch.from_pylist(rows, schema=REJECTS)])
    column = pq.read_metadata(path).row_group(0).column(4)
    damaged = bytearray(path.read_bytes())
    damaged[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StoreCorruptionError, match="cannot be read"):
        list(read_batches(path))


def test_a_full_disk_is_one_readable_error_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"disk is full.*store\.path"):
        commit_bytes(small_disk / "file", bytes(1 << 20))
    assert list(small_disk.iterdir()) == []


def test_a_table_that_fills_the_disk_is_a_full_disk_too(small_disk: Path) -> None:
    rows = [{"row": n, "reason": "r", "detail": os.urandom(500).hex()} for n in range(1000)]
    batch = pa.RecordBatch.from_pylist(rows, schema=REJECTS)
    with pytest.raises(StorageError, match="disk is full"):
        commit_table(small_disk / "table.parquet", REJECTS, [batch] * 5)
    assert list(small_disk.iterdir()) == []


def test_other_errors_of_the_operating_system_pass_unchanged(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    with pytest.raises(OSError, match="busy") as caught:
        commit_file(tmp_path / "file", write)
    assert caught.value.errno == errno.EBUSY


def test_a_manifest_is_json_that_people_can_read(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["decided_by"] == {"stage": "test"}
    assert manifest["files"][0]["name"] == "file"
