from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.errors import DiskError, MachineMemoryError, StorageError
from tasks.output.folder import SETTING
from tasks.system_errors import machine_faults, storage_faults


def fail(number: int, path: Path | None = None, target: Path | None = None) -> None:
    named = [] if path is None else [str(path)] if target is None else [str(path), 0, str(target)]
    raise OSError(number, os.strerror(number), *named)


@pytest.mark.parametrize("name", ["part.tmp", "deeper/part", ".."])
def test_a_fault_near_the_place_names_it_and_the_key_that_moves_it(
    tmp_path: Path, name: str
) -> None:
    place = tmp_path / "store" / "exports"
    with pytest.raises(StorageError) as caught, storage_faults(place):
        fail(errno.EROFS, place.parent / name)
    assert str(caught.value) == (
        f"cannot write {place}: the file system is read-only; "
        "choose another place with `store.path`"
    )


def test_a_fault_without_a_path_is_one_of_the_place(tmp_path: Path) -> None:
    message = f"cannot write {tmp_path}: the disk is full; free some space or choose another place"
    with pytest.raises(StorageError, match=message), storage_faults(tmp_path, "--json"):
        fail(errno.ENOSPC)


def test_a_fault_elsewhere_is_not_told_as_one_of_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "home/.paddlenlp"
    with pytest.raises(StorageError) as caught, storage_faults(tmp_path / "store/exports"):
        fail(errno.EROFS, path)
    message = str(caught.value)
    assert message.startswith(f"cannot use {path}: the file system is read-only; ")
    assert message.endswith("by setting HOME")
    assert "store" not in message


def test_a_folder_that_cannot_be_moved_is_told_with_its_key(tmp_path: Path) -> None:
    remedy = "choose another place with `aggregate.output_folder`"
    with pytest.raises(StorageError, match=remedy), storage_faults(tmp_path, SETTING):
        fail(errno.EXDEV, tmp_path)


def test_a_folder_that_is_in_use_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is in use, or a mount point"), machine_faults():
        fail(errno.EBUSY, tmp_path)


def test_a_failing_disk_may_work_again(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="try again"), storage_faults(tmp_path):
        fail(errno.EIO)


@pytest.mark.parametrize("number", [errno.EISDIR, errno.EMFILE, errno.ENOENT])
def test_what_another_attempt_may_mend_passes_through(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)), storage_faults(tmp_path):
        fail(number, tmp_path)


def test_what_nobody_has_explained_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "latest"
    message = f"cannot use {path}: there is a folder in its place"
    with pytest.raises(StorageError, match=message), machine_faults():
        fail(errno.EISDIR, tmp_path / ".latest-1", path)
    with pytest.raises(StorageError, match=f"cannot use {path}: No such file"), machine_faults():
        path.open()


def test_an_error_without_a_path_that_says_nothing_is_not_hidden() -> None:
    with pytest.raises(ConnectionRefusedError), machine_faults():
        fail(errno.ECONNREFUSED)


@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowMemoryError("malloc"), OSError(12, "")])
def test_too_little_memory_is_told_as_that(error: Exception) -> None:
    with pytest.raises(MachineMemoryError, match="too little memory") as caught, machine_faults():
        raise error
    assert caught.value.exit_code == 2
