from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.aggregate.outputs import as_line, check_rows, write_output
from tasks.aggregate.partial import Missing
from tasks.errors import StoreCorruptionError
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table


def write_rows(folder: Path, predicted: list[int], rejected: list[int]) -> tuple[Path, Path]:
    predictions, rejects = folder / "predictions.parquet", folder / "rejects.parquet"
    commit_table(predictions, PREDICTIONS, [prediction_batch(predicted)])
    reasons = [{"row": row, "reason": "not_json", "detail": ""} for row in rejected]
    commit_table(rejects, REJECTS, [pa.RecordBatch.from_pylist(reasons, schema=REJECTS)])
    return predictions, rejects


def prediction_batch(rows: list[int], reference: str | None = None) -> pa.RecordBatch:
    texts = {"context": "c", "answer": "a", "question": "q", "reference": reference}
    rest = {"score": 0.5, "output_ids": [1], "alternatives": [], "unknown_tokens": 0}
    records = [{"row": row, "id": str(row), **texts, **rest} for row in rows]
    return pa.RecordBatch.from_pylist(records, schema=PREDICTIONS)


@settings(max_examples=30)
@given(st.lists(st.booleans(), max_size=30))
def test_rows_that_are_predicted_or_rejected_once_are_accepted(
    tmp_path_factory: pytest.TempPathFactory, is_good: list[bool]
) -> None:
    predicted = [row for row, good in enumerate(is_good) if good]
    rejected = [row for row, good in enumerate(is_good) if not good]
    files = write_rows(tmp_path_factory.mktemp("run"), predicted, rejected)
    check_rows(*files, rows_in=len(is_good))


@pytest.mark.parametrize(
    ("predicted", "rejected"),
    [([0, 2], []), ([0, 1, 1], [2]), ([0, 1], [1, 2]), ([0, 1], []), ([0, 1, 2], [3])],
    ids=["missing", "twice", "in both", "the last is missing", "one too many"],
)
def test_a_row_that_is_lost_or_twice_is_found(
    tmp_path: Path, predicted: list[int], rejected: list[int]
) -> None:
    files = write_rows(tmp_path, predicted, rejected)
    with pytest.raises(StoreCorruptionError, match="every input row once"):
        check_rows(*files, rows_in=3)


def test_alternatives_stand_in_the_line_only_when_there_are_some() -> None:
    row = prediction_batch([7]).to_pylist()[0]
    assert "alternatives" not in as_line(row)
    row["alternatives"] = [{"question": "p", "score": 0.25}]
    assert '"alternatives": [{"question": "p", "score": 0.25}]' in as_line(row)


def test_references_with_line_breaks_keep_to_their_line(tmp_path: Path) -> None:
    predictions = tmp_path / "predictions.parquet"
    commit_table(predictions, PREDICTIONS, [prediction_batch([0, 1], reference="first\nsecond")])
    write_output(predictions, tmp_path / "out.txt", Missing())
    assert (tmp_path / "out.txt").read_text() == "q\nq\n"
    assert (tmp_path / "out.txt.reference.txt").read_text() == "first second\n" * 2


def test_a_folder_with_the_name_of_the_mark_is_left_as_it_is(tmp_path: Path) -> None:
    predictions, _rejects = write_rows(tmp_path, [0], [])
    (tmp_path / "q.txt.partial").mkdir()
    (tmp_path / "q.txt.partial/mine").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError, match="Is a directory"):
        write_output(predictions, tmp_path / "q.txt", Missing())
    assert (tmp_path / "q.txt.partial/mine").read_text(encoding="utf-8") == "mine"
