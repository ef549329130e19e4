"""Where the files of `wenti export-results` are written, and what they replace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.addresses import ObjectPlace
from tasks.conversion.convert import FORMATS, convert_run
from tasks.conversion.target import Target
from tasks.errors import InputError, PreflightError, StoreCorruptionError
from tasks.store.files import storage_of
from tasks.store.tables import PREDICTIONS
from tests.support.converted_runs import RUN_ID, others, write_run
from tests.support.finished_runs import prediction
from tests.support.object_stores import use_memory
from tests.support.shelf import read_tree

ROWS = [prediction(row, alternatives=others("另？", "再？")[: row % 3]) for row in (0, 1, 5, 8)]
every_target = pytest.mark.parametrize("target", Target)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run; the working folder is another, empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return write_run(tmp_path / "store", ROWS)


def test_every_question_is_a_line_of_json(run: Path) -> None:
    converted = convert_run(run, Target.ONE_PER_QUESTION)
    assert converted.path == Path(f"{RUN_ID}.jsonl")
    lines = [json.loads(one) for one in converted.path.read_text(encoding="utf-8").splitlines()]
    expected = [
        {
            **{
                name: one for name, one in row.items() if name not in ("output_ids", "alternatives")
            },
            **({} if rank == 1 else {"is_finished": None, "token_count": None}),
            "question_rank": rank,
            "question": question["question"],
            "score": pytest.approx(question["score"], abs=1e-6),
        }
        for row in ROWS
        for rank, question in enumerate([row, *row["alternatives"]], 1)
    ]
    assert lines == expected
    assert (converted.tally.rows, converted.tally.questions) == (4, len(expected))


def damage_passages(path: Path) -> None:
    """Flip a bit in the passages of the second half of the rows."""
    passages = pq.read_metadata(path).row_group(1).column(PREDICTIONS.get_field_index("context"))
    content = bytearray(path.read_bytes())
    content[passages.dictionary_page_offset + passages.total_compressed_size // 2] ^= 1
    path.write_bytes(content)


@every_target
def test_a_file_of_an_earlier_run_is_replaced_as_a_whole(
    run: Path, tmp_path: Path, target: Target
) -> None:
    path = tmp_path / "new/questions"
    for _ in range(2):
        convert_run(run, target, path)
    first = path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == ["questions"]
    damage_passages(run / "predictions.parquet")
    with pytest.raises(StoreCorruptionError):
        convert_run(run, target, path)
    assert [one.name for one in path.parent.iterdir()] == ["questions"]
    assert path.read_bytes() == first


@every_target
@pytest.mark.parametrize("other", [*Target, "passages"])
def test_a_file_of_another_kind_is_left_alone(
    run: Path, tmp_path: Path, target: Target, other: Target | str
) -> None:
    path = tmp_path / "mine"
    if isinstance(other, Target):
        if other == target:
            return
        convert_run(run, other, path)
    else:
        path.write_text('{"context": "泰山", "answer": "山"}\n', encoding="utf-8")
    before = read_tree(tmp_path)
    said = f"mine is there, and this command did not write it as {target}; move"
    with pytest.raises(PreflightError, match=said):
        convert_run(run, target, path)
    assert read_tree(tmp_path) == before


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda root: root / "here", "is a folder"),
    "in the store": (lambda root: root / "store/runs/questions.csv", "is inside the store"),
    "below a file": (lambda root: root / "store/runs" / RUN_ID / "run.json/q", "inside the store"),
    "a device": (lambda _root: Path("/dev/null"), "is not a regular file"),
    "a link": (lambda _root: Path("/dev/stdout"), "is a symbolic link"),
    "a closed place": (lambda _root: Path("/proc/new/questions.csv"), "/proc cannot be written"),
    "a long name": (lambda root: root / ("x" * 300), "name too long"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_for_which_this_is_wrong_is_refused_before_anything_is_written(
    run: Path, tmp_path: Path, name: str
) -> None:
    place, problem = PLACES[name]
    before = read_tree(tmp_path)
    with pytest.raises(PreflightError, match=f"--output: .*{problem}"):
        convert_run(run, Target.CSV, place(tmp_path))
    assert read_tree(tmp_path) == before


def test_an_empty_file_is_filled(run: Path) -> None:
    Path("q.csv").touch()
    assert convert_run(run, Target.CSV, Path("q.csv")).tally.rows == len(ROWS)


@every_target
def test_each_format_has_a_name_of_its_own(run: Path, target: Target) -> None:
    assert convert_run(run, target).path == Path(f"{RUN_ID}{FORMATS[target].suffix}")
    assert len({form.suffix for form in FORMATS.values()}) == len(Target) == len(FORMATS)


def test_without_questions_there_is_no_file(run: Path, tmp_path: Path) -> None:
    empty = write_run(tmp_path / "other", [])
    with pytest.raises(InputError, match="has no question for csv: it has none"):
        convert_run(empty, Target.CSV)
    lacking = write_run(tmp_path / "third", [prediction(0, answer="长江")])
    with pytest.raises(InputError, match="squad: no row has its answer in its passage"):
        convert_run(lacking, Target.SQUAD)
    assert [*Path().iterdir()] == []


def test_the_model_and_what_is_missing_are_named(tmp_path: Path) -> None:
    record = {"config": {"model": {"model_name_or_path": "/models/unimo"}}, "export": "ab" * 32}
    run = write_run(tmp_path / "store", ROWS, **record, rows_missing=7, partial=True)
    converted = convert_run(run, Target.LABEL_STUDIO, tmp_path / "tasks.json")
    (version, *_) = json.loads(converted.path.read_text(encoding="utf-8"))[0]["predictions"]
    assert version["model_version"] == "unimo-abababababab"
    assert converted.as_dict()["rows_missing"] == 7
    assert converted.as_dict()["fake"] is False


def test_made_up_questions_are_named_as_such(tmp_path: Path) -> None:
    made_up = {"export": {"engine": "fake"}}
    run = write_run(tmp_path / "store", [prediction(0)], decided_by=made_up)
    converted = convert_run(run, Target.LABEL_STUDIO, tmp_path / "tasks.json")
    assert converted.as_dict()["fake"] is True
    (task,) = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert task["predictions"][0]["model_version"].startswith("fake-")


def test_a_file_in_an_object_store_is_that_of_this_machine_and_no_other_is_replaced(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = use_memory(tmp_path, monkeypatch).parent / "questions.csv"
    convert_run(run, Target.CSV, Path("questions.csv"))
    for _ in range(2):
        assert convert_run(run, Target.CSV, there).path == there
    assert storage_of(there).read(there) == Path("questions.csv").read_bytes()
    with pytest.raises(PreflightError, match="did not write it as squad"):
        convert_run(run, Target.SQUAD, there)
    with pytest.raises(PreflightError, match="is a bucket"):
        convert_run(run, Target.CSV, ObjectPlace(there.bucket))
