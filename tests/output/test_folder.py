"""A folder is replaced as a whole or not at all, and only one that Wenti has made."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.output import folder as output
from tasks.output.folder import find_foreign, replaced_folder
from tasks.output.marks import write_mark
from tests.support.shelf import read_tree


def put(place: Path, text: str, is_partial: bool = False) -> None:
    with replaced_folder(place) as new:
        (new / f"dt={text}").mkdir()
        (new / f"dt={text}/part-00000.parquet{output.HIDDEN}").write_text(text)
        write_mark(new, is_partial, {"run_id": text})


def test_a_run_replaces_what_the_run_before_wrote(tmp_path: Path) -> None:
    place = tmp_path / "deep/er/out"
    put(place, "1", is_partial=True)
    assert {path.name for path in place.iterdir()} == {"dt=1", "_PARTIAL"}
    put(place, "2")
    assert {path.name for path in place.iterdir()} == {"dt=2", "_SUCCESS"}
    assert [path.name for path in place.parent.iterdir()] == ["out"]
    assert find_foreign(place) is None


def test_an_empty_folder_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    put(tmp_path / "out", "1")
    assert (tmp_path / "out/dt=1").is_dir()


@pytest.mark.parametrize("name", [".env", ".gitkeep", ".git/config"])
def test_a_folder_with_hidden_files_is_not_empty(tmp_path: Path, name: str) -> None:
    put_below(tmp_path / "out" / name)
    with pytest.raises(StorageError, match=f"holds {name}, which Wenti did not write"):
        put(tmp_path / "out", "1")
    assert (tmp_path / "out" / name).is_file()


def test_what_readers_leave_behind_does_not_count(tmp_path: Path) -> None:
    put(tmp_path / "out", "1")
    for name in (".part-00000.parquet.crc", ".DS_Store", ".nfs0000a1", "dt=1/.DS_Store"):
        put_below(tmp_path / "out" / name)
    put(tmp_path / "out", "2")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"dt=2", "_SUCCESS"}


def put_below(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file": lambda place: (place / "mine.csv").write_text("x"),
    "below": lambda place: (place / "dt=1/mine.csv").write_text("x"),
    "a hidden file": lambda place: (place / ".env").write_text("x"),
    "hidden below": lambda place: (place / "dt=1/.gitkeep").write_text(""),
    "a hidden folder": lambda place: put_below(place / ".git/config"),
    "a mark of Spark": lambda place: (place / "_SUCCESS").write_text(""),
    "a mark of another program": lambda place: (place / "_SUCCESS").write_text('{"files": []}'),
    "a link": lambda place: (place / "link").symlink_to("/"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, name: str) -> None:
    put(tmp_path / "out", "1")
    FOREIGN[name](tmp_path / "out")
    assert find_foreign(tmp_path / "out") is not None
    before = read_tree(tmp_path)
    with pytest.raises(StorageError, match="which Wenti did not write"):
        put(tmp_path / "out", "2")
    assert read_tree(tmp_path) == before


def test_a_fault_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    put(tmp_path / "out", "1")
    before = read_tree(tmp_path)
    folder = replaced_folder(tmp_path / "out")
    (folder.__enter__() / "half").write_text("")
    assert not folder.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert read_tree(tmp_path) == before


EXCHANGES = pytest.mark.parametrize("flag", [2, 1 << 30])  # which the kernel refuses


@EXCHANGES
def test_a_data_set_above_never_has_rows_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int
) -> None:
    """As read by `**/*.parquet`, which some readers take for hidden folders, too."""
    monkeypatch.setattr(output, "_EXCHANGE", flag)
    put(tmp_path / "dt=1", "old")
    with replaced_folder(tmp_path / "dt=1") as new:
        (new / f"part-00000.parquet{output.HIDDEN}").write_text("new")
        write_mark(new, False, {})
        assert [path.read_text() for path in tmp_path.rglob("*.parquet")] == ["old"]
        removed = Counter[str]()
        remove = output._remove

        def look(folder: Path) -> None:
            removed.update(path.name for path in folder.rglob("*") if path.is_file())
            remove(folder)

        monkeypatch.setattr(output, "_remove", look)
    assert [path.read_text() for path in tmp_path.rglob("*.parquet")] == ["new"]
    assert removed[f"part-00000.parquet{output.HIDDEN}"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["dt=1"]
    assert find_foreign(tmp_path / "dt=1") is None


@EXCHANGES
def test_where_folders_cannot_be_exchanged_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int
) -> None:
    monkeypatch.setattr(output, "_EXCHANGE", flag)
    put(tmp_path / "out", "1")
    put(tmp_path / "out", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"dt=2", "_SUCCESS"}


def test_what_killed_processes_leave_beside_the_place_is_removed(tmp_path: Path) -> None:
    yesterday, killed = tmp_path / ".dt=[1]*.0123abcd.wenti-new", tmp_path / ".x.0.wenti-new"
    for left in (yesterday, killed):
        (left / "dt=1").mkdir(parents=True)
    with replaced_folder(tmp_path / "dt=2") as new:  # that of a run which is still going on
        (new / "half").write_text("")
        put(tmp_path / "dt=3", "1")
        assert not yesterday.exists()
        assert not killed.exists()
        assert new.is_dir()
        write_mark(new, False, {})
    assert (tmp_path / "dt=2/half").is_file()


def test_an_old_data_set_that_a_kill_left_without_its_place_is_put_back(tmp_path: Path) -> None:
    for place in ("dt=1", "dt=2"):
        put(tmp_path / place, place)
    (tmp_path / "dt=1").rename(tmp_path / ".dt=1.old.wenti-new")  # killed before the new one came
    (tmp_path / "dt=2").rename(tmp_path / ".dt=2.old.wenti-new")
    put(tmp_path / "dt=2", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dt=1", "dt=2"]
    texts = {path.read_text() for path in tmp_path.rglob("*.parquet")}
    assert texts == {"dt=1", "new"}


def test_the_new_folder_has_the_mode_and_the_group_of_the_old_one(tmp_path: Path) -> None:
    group = max(os.getgroups() or [os.getgid()]) if os.geteuid() else 4321
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", -1, group)
    (tmp_path / "out").chmod(0o2775)
    for text in ("1", "2"):
        put(tmp_path / "out", text)
        states = [path.stat() for path in (tmp_path / "out", tmp_path / f"out/dt={text}")]
        assert states[0].st_mode & 0o7777 == 0o2775
        assert [state.st_gid for state in states] == [group, group]


def test_the_place_may_be_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    put(Path(), "1")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"dt=1", "_SUCCESS"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="there is a file"):
        put(tmp_path / "file/out", "1")
