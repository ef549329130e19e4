"""A data set in an object store is replaced file by file, and is never taken for a finished one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
from tasks.output.folder import replaced_folder
from tasks.output.marks import HIDDEN, write_mark
from tasks.output.objects import find_foreign_object, replaced_objects
from tasks.store.objects.bucket import Bucket
from tasks.store.objects.connection import open_storage
from tasks.store.objects.files import ObjectFiles
from tests.support.object_stores import use_memory
from tests.support.shelf import read_tree

FIRST = {"dt=1/part-00000.parquet": "1", "dt=2/part-00000.parquet": "2"}
SECOND = {"dt=2/part-00000.parquet": "two", "dt=3/part-00000.parquet": "3"}


class KilledError(BaseException):
    pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    return use_memory(tmp_path, monkeypatch).parent / "out"


def files_of(place: ObjectPlace) -> ObjectFiles:
    return open_storage(place).files


def fill(folder: Path, files: dict[str, str], is_partial: bool = False) -> None:
    for name, text in files.items():
        path = folder / f"{name}{HIDDEN}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_mark(folder, is_partial, {"run_id": "run"})


def put(place: ObjectPlace, files: dict[str, str], is_partial: bool = False) -> None:
    with replaced_objects(place) as folder:
        fill(folder, files, is_partial)


def read(place: ObjectPlace) -> dict[str, bytes]:
    files = files_of(place)
    return {str(one.place.relative_to(place)): files.read(one.place) for one in files.below(place)}


NAMES = st.sampled_from(
    ["part-00000.parquet", "dt=1/part-00000.parquet", "dt=北京/x.parquet", "a/b"]
)
DATA_SETS = st.lists(
    st.tuples(st.dictionaries(NAMES, st.text(max_size=3), min_size=1), st.booleans()),
    min_size=1,
    max_size=3,
)


@settings(max_examples=20)  # each replaces folders, which takes a disk long
@given(versions=DATA_SETS)
def test_it_has_the_files_of_a_folder_that_is_replaced(
    versions: list[tuple[dict[str, str], bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        place = use_memory(folder, patch).parent / "out"
        for files, is_partial in versions:
            put(place, files, is_partial)
            with replaced_folder(folder / "out") as new:
                fill(new, files, is_partial)
            here = (path for path in (folder / "out").rglob("*") if path.is_file())
            assert read(place) == {
                str(path.relative_to(folder / "out")): path.read_bytes() for path in here
            }


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A list with the number of the request that changes something before which to be killed."""
    number = [0]

    def counted(method: str) -> None:
        real = getattr(Bucket, method)

        def call(self: Bucket, *arguments: object) -> object:
            number[0] -= 1
            if number[0] == 0:
                raise KilledError
            return real(self, *arguments)

        monkeypatch.setattr(Bucket, method, call)

    counted("put")
    counted("delete")
    yield number
    monkeypatch.undo()


def test_whenever_it_is_killed_it_is_not_finished_and_the_next_run_replaces_it(
    place: ObjectPlace, kill_at: list[int]
) -> None:
    for at in range(1, 20):
        put(place, FIRST)
        before = read(place)
        kill_at[0] = at
        try:
            put(place, SECOND)
        except KilledError:
            kill_at[0] = 0
            left = read(place)
            if "_SUCCESS" in left:  # nothing has been changed yet, or all has been
                names = json.loads(left["_SUCCESS"])["files"]
                whole = before if left["_SUCCESS"] == before["_SUCCESS"] else as_bytes(SECOND)
                assert {name: left[name] for name in names} == {name: whole[name] for name in names}
            assert find_foreign_object(files_of(place), place) is None
            put(place, SECOND)
        else:
            break
        assert read(place).keys() == {*SECOND, "_SUCCESS"}
        assert read(place).items() >= as_bytes(SECOND).items()
    assert at == 8  # claim, old mark, two files, the file that is gone, the new mark, the claim


def as_bytes(files: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mine.csv", b"x"),
        ("dt=1/mine.csv", b"x"),
        (".env", b"x"),
        ("_SUCCESS", b""),
        ("_SUCCESS", b'{"files": ["mine.csv"]}'),
    ],
)
def test_a_place_with_other_objects_is_left_alone(
    place: ObjectPlace, name: str, data: bytes
) -> None:
    put(place, FIRST)
    files_of(place).put({place / name: data})
    before = read(place)
    with pytest.raises(StorageError, match="which Wenti did not write; move it"):
        put(place, SECOND)
    assert read(place) == before


def test_what_is_beside_it_or_comes_meanwhile_is_never_deleted(
    place: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = place.with_name("out-2") / "part-00000.parquet"
    files_of(place).put({beside: b"mine", place / "dt=1/.DS_Store": b"left by a reader"})
    put(place, FIRST)
    real = ObjectFiles.delete

    def delete(self: ObjectFiles, *arguments: object) -> None:
        self.put({place / "dt=1/late.csv": b"mine"})
        real(self, *arguments)

    monkeypatch.setattr(ObjectFiles, "delete", delete)
    put(place, SECOND)
    assert files_of(place).read(beside) == b"mine"
    assert read(place).keys() >= {"dt=1/late.csv", "dt=1/.DS_Store"}


def test_of_two_runs_that_write_it_at_a_time_one_is_told(
    place: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_first = ObjectFiles.delete, [True]

    def delete(self: ObjectFiles, *arguments: object) -> None:
        if is_first.pop() if is_first else False:
            put(place, FIRST)  # from beginning to end, while the other one is writing
        real(self, *arguments)

    monkeypatch.setattr(ObjectFiles, "delete", delete)
    with pytest.raises(StorageError, match="another run writes to"):
        put(place, SECOND)
    assert not read(place).keys() & {"_SUCCESS", "_PARTIAL"}
    put(place, SECOND)
    assert read(place).keys() == {*SECOND, "_SUCCESS"}


def test_nothing_is_put_if_the_files_could_not_be_written(
    place: ObjectPlace, tmp_path: Path
) -> None:
    put(place, FIRST)
    before = read(place)
    with pytest.raises(StorageError, match="too long"):
        put(place, {**SECOND, "x" * 300: ""})
    assert read(place) == before
    assert not read_tree(tmp_path / "cache/unfinished")
