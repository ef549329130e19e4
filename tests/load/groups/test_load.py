"""What is loaded in groups of files is what one pass loads, however many processes there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from tasks.columns import store
from tasks.errors import InputError, WorkerError
from tasks.load.dataset import LoadRequest, load_columns, load_passages
from tasks.load.groups import load
from tasks.load.groups.division import find_groups
from tasks.load.groups.load import load_columns_of_files, load_files
from tasks.load.groups.work import GroupWorker, Load
from tasks.load.part_reader import read_dataset_parts
from tasks.load.parts import DatasetDetails
from tasks.store.manifest import Manifest
from tasks.store.tables import DATASET
from tests.support.load_groups import (
    divide_by,
    read_bytes,
    read_dataset,
    request_of_folder,
    write_files,
)
from tests.support.load_requests import small_parts

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".parquet")


def below(request: LoadRequest, folder: Path) -> LoadRequest:
    """Return the same request for a store in another folder."""
    columns = request.columns
    moved = None if columns is None else replace(columns, folder=folder / "columns" / "x")
    return replace(request, folder=folder / "datasets" / "x", columns=moved)


def details_of(manifest: Manifest) -> dict[str, object]:
    return {name: value for name, value in manifest.details.items() if name != "part_rows"}


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as raised:
        call()
    return str(raised.value)


@pytest.fixture
def request_of_files(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> LoadRequest:
    """A request for five files of JSON lines, in three groups."""
    divide_by(monkeypatch, 6000)
    request = request_of_folder(load_request, write_files(tmp_path / "in", ".jsonl"))
    assert len(find_groups(request)) == 3
    return request


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_groups_have_the_rows_of_one_pass_whatever_the_format(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str
) -> None:
    request = request_of_folder(load_request, write_files(tmp_path / "in", suffix))
    once, grouped = below(request, tmp_path / "1"), below(request, tmp_path / "2")
    expected = load_passages(once)
    divide_by(monkeypatch, 1)
    manifest = load_files(grouped, 1)
    assert details_of(manifest) == details_of(expected)
    assert len(manifest.files) == 6
    assert expected.details["rejects"] > 5
    assert read_dataset(grouped) == read_dataset(once)


def test_executor_and_cores_decide_no_byte(request_of_files: LoadRequest, tmp_path: Path) -> None:
    found = []
    for cores in (1, 2, 8):
        request = below(request_of_files, tmp_path / f"{cores}")
        manifest = load_files(request, cores)
        found.append((manifest, read_bytes(request)))
    assert found[0] == found[1] == found[2]
    names = [file.name for file in found[0][0].files]
    assert names == [*(f"part-{group:05d}-00000.parquet" for group in range(3)), "rejects.parquet"]
    assert len(found[0][1]) == len(names) + 3  # two manifests, and the columns
    assert not active_children()


def test_a_group_has_parts_of_its_own(
    request_of_files: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch, 5)
    worker, first = GroupWorker(request_of_files), 0
    for group in find_groups(request_of_files):
        manifest = worker.work(Load(group, first, None))
        assert isinstance(manifest, Manifest)
        details = DatasetDetails.of(manifest)
        assert details.part_rows[:-1] == [5] * (len(details.part_rows) - 1)
        first += details.rows_in
    monkeypatch.undo()
    divide_by(monkeypatch, 6000)
    manifest = load_files(request_of_files, 1)
    assert len(manifest.files) > 10
    once = below(request_of_files, tmp_path / "1")
    load_passages(once)
    assert read_dataset(request_of_files) == read_dataset(once)
    parts = read_dataset_parts(request_of_files.folder, manifest, 5, 30, ["row"])
    rows = [row for part in parts for row in part["row"].to_pylist()]
    assert rows == read_dataset(once)["rows"]["row"].to_pylist()[5:30]
    assert DATASET.names[0] == "row"


def test_a_small_input_is_loaded_in_one_pass_to_the_byte(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    request = request_of_folder(load_request, write_files(tmp_path / "in", ".jsonl"))
    once, grouped = below(request, tmp_path / "1"), below(request, tmp_path / "2")
    load_passages(once)
    load_files(grouped, 8)
    assert read_bytes(grouped) == read_bytes(once)


def test_a_limit_is_loaded_in_one_pass(request_of_files: LoadRequest, tmp_path: Path) -> None:
    request = replace(request_of_files, limit=20)
    once, grouped = below(request, tmp_path / "1"), below(request, tmp_path / "2")
    load_passages(once)
    load_files(grouped, 1)
    assert read_bytes(grouped) == read_bytes(once)


ROW = '{"context": "长江是中国最大的河流。", "answer": "长江"}'


@pytest.mark.parametrize(
    ("bad", "damaged"), [(None, "d"), ("b", None), ("c", "b"), ("a", "b"), ("b", "b"), ("b", "d")]
)
def test_what_fails_first_is_what_fails_in_one_pass(
    load_request: LoadRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bad: str | None,
    damaged: str | None,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcd":
        rows = [ROW, *(["1"] if name == bad else []), ROW]
        text = f"[{', '.join(rows)}{'' if name == damaged else ']'}"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    request = replace(request_of_folder(load_request, folder), on_bad_row="fail")
    once, grouped = below(request, tmp_path / "1"), below(request, tmp_path / "2")
    expected = message_of(lambda: load_passages(once))
    divide_by(monkeypatch, 1)
    assert message_of(lambda: load_files(grouped, 2)) == expected
    assert not list((tmp_path / "2").rglob("*.*"))


def test_input_without_a_usable_row_is_told_as_in_one_pass(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"context": "a", "answer": 1}\n')
    (folder / "b.jsonl").write_text('{"context": "a", "answer": " "}\n[2]\n')
    request = request_of_folder(load_request, folder)
    expected = message_of(lambda: load_passages(request))
    assert "all 3 rows were rejected" in expected
    divide_by(monkeypatch, 1)
    assert message_of(lambda: load_files(request, 1)) == expected
    assert not list(Path(request.folder).parent.rglob("*.*"))


def add_a_file(folder: Path) -> None:
    (folder / "z.jsonl").write_text(ROW)


def change_a_file(folder: Path) -> None:
    (folder / "b.jsonl").write_text(f"{ROW}\n{ROW}")


def change_the_last_file(folder: Path) -> None:
    text = (folder / "e.jsonl").read_text()
    (folder / "e.jsonl").write_text(text.replace("最大", "最小"))


def remove_a_file(folder: Path) -> None:
    (folder / "a.jsonl").unlink()


def fill_an_empty_file(folder: Path) -> None:
    (folder / "empty.jsonl").write_text(f"\n\n{ROW}")


@pytest.mark.parametrize(
    "change",
    [add_a_file, change_a_file, change_the_last_file, remove_a_file, fill_an_empty_file],
)
def test_files_that_changed_since_their_fingerprint_are_refused(
    load_request: LoadRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[Path], None],
) -> None:
    folder = write_files(tmp_path / "in", ".jsonl")
    (folder / "empty.jsonl").write_text("\n")
    request = request_of_folder(load_request, folder)
    divide_by(monkeypatch, 1)
    change(folder)
    assert message_of(lambda: load_files(request, 1)).endswith(
        "changed while it was read; run again"
    )
    assert not Path(request.folder).exists()


def test_files_that_change_between_counting_and_loading_are_refused(
    request_of_files: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, changed = load._plan_loads, tmp_path / "in/b.jsonl"
    before = changed.read_bytes()

    def change_then_plan(*given: object) -> list[Load]:
        change_a_file(tmp_path / "in")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(load, "_plan_loads", change_then_plan)
    for request in (request_of_files, replace(request_of_files, input_sha256=None)):
        message = message_of(lambda request=request: load_files(request, 1))
        assert message.endswith("changed while it was read; run again")
        assert not Path(request.folder).exists()
        changed.write_bytes(before)


def test_files_that_changed_since_their_group_was_loaded_are_refused(
    request_of_files: LoadRequest, tmp_path: Path
) -> None:
    GroupWorker(request_of_files).work(Load(find_groups(request_of_files)[0], 0, None))
    changed = tmp_path / "in/a.jsonl"
    fewer = b"\n".join(changed.read_bytes().split(b"\n")[:-4])
    changed.write_bytes(fewer.ljust(changed.stat().st_size - 1) + b"\n")
    message = message_of(lambda: load_files(request_of_files, 1))
    assert message.endswith("changed while it was read; run again")
    assert not list(Path(request_of_files.folder).iterdir())


def test_groups_that_are_done_survive_a_kill_of_the_rest(
    request_of_files: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, made = Path(request_of_files.folder), list[Path]()
    real = load.GroupProcesses.do

    def kill_at_the_third(self: load.GroupProcesses, jobs: list[object]) -> object:
        for answer in real(self, jobs):
            yield answer
            made[:] = sorted(folder.glob("group-*.json"))
            if len(made) == 2:
                for process in active_children():
                    process.kill()

    monkeypatch.setattr(load.GroupProcesses, "do", kill_at_the_third)
    with pytest.raises(WorkerError, match="the loader of files died"):
        load_files(request_of_files, 1)
    monkeypatch.undo()
    divide_by(monkeypatch, 6000)
    times = {path: path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))}
    assert len(times) == 2
    load_files(request_of_files, 1)
    assert times.items() <= {path: path.stat().st_mtime_ns for path in folder.glob("*")}.items()
    undisturbed = below(request_of_files, tmp_path / "1")
    load_files(undisturbed, 1)
    assert sorted(read_bytes(request_of_files).values()) == sorted(read_bytes(undisturbed).values())


def test_columns_are_kept_later_to_the_byte(request_of_files: LoadRequest, tmp_path: Path) -> None:
    now, later = (below(request_of_files, tmp_path / name) for name in ("1", "2"))
    rows = load_files(now, 2).details["rows_in"]
    load_files(replace(later, columns=None), 1)
    assert later.columns is not None
    load_columns_of_files(later, later.columns, rows, 1)
    assert read_bytes(later) == read_bytes(now)
    with pytest.raises(InputError, match="has 1 rows, but the input has more"):
        load_columns_of_files(later, later.columns, 1, 1)


def test_of_too_many_columns_those_of_one_pass_are_kept(
    request_of_files: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for at in range(3):
        names = [f"x{number}" for number in range(at * 400, at * 400 + 1100)]
        row = {**json.loads(ROW), **dict.fromkeys(names, at)}
        (folder / f"{at}.jsonl").write_text(json.dumps(row))
    divide_by(monkeypatch, 1)
    request = request_of_folder(request_of_files, folder)
    assert request.columns is not None
    manifest = load_files(request, 1)
    assert request.columns.find().manifest is None
    kept = load_columns_of_files(request, request.columns, manifest.details["rows_in"], 2)
    once = below(request, tmp_path / "1")
    assert once.columns is not None
    assert kept.details == load_columns(once, once.columns, 3).details
    assert kept.details["left_out"]
    assert len(kept.details["names"]) == store.MOST_COLUMNS
