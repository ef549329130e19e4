from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.load.parts import REJECTS_FILE
from tasks.operations.rows import (
    add_flags,
    find_flagged,
    find_row,
    find_worst,
    first_rejects,
    first_rows,
)
from tasks.runs.results import PREDICTIONS_FILE
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table
from tests.support.finished_runs import judge_run, prediction

LACKING = [
    {"row": row, "line": row + 1, "id": None, "reason": reason, "detail": f"detail {row}"}
    for row, reason in ((1, "empty_field"), (4, "not_json"), (7, "empty_field"))
]


def write(folder: Path, rows: Sequence[dict[str, Any]], per_batch: int = 2) -> Path:
    """Write the results of a run, with several row groups; return the folder."""
    parts = [rows[first : first + per_batch] for first in range(0, len(rows), per_batch)]
    batches = [pa.RecordBatch.from_pylist(part, PREDICTIONS) for part in parts]
    commit_table(folder / PREDICTIONS_FILE, PREDICTIONS, batches)
    commit_table(folder / REJECTS_FILE, REJECTS, [pa.RecordBatch.from_pylist(LACKING, REJECTS)])
    return folder


def numbers(rows: Sequence[dict[str, Any]]) -> list[int]:
    return [row["row"] for row in rows]


def test_the_first_rows_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, [prediction(row) for row in (0, 2, 3, 5, 6)])
    assert numbers(first_rows(tmp_path, 3)) == [0, 2, 3]


def test_a_row_is_found_by_its_number_in_the_input(tmp_path: Path) -> None:
    write(tmp_path, [prediction(row) for row in (0, 2, 3, 5, 6)])
    assert [find_row(tmp_path, row)["id"] for row in (0, 3, 6)] == ["id-0", "id-3", "id-6"]
    with pytest.raises(InputError, match="row 4 was rejected: not_json: detail 4"):
        find_row(tmp_path, 4)
    with pytest.raises(InputError, match="has no row 8; rows are counted from 0"):
        find_row(tmp_path, 8)


def test_rows_have_kept_columns_that_python_does_not_have_as_text(tmp_path: Path) -> None:
    write(tmp_path, [prediction(row, score=-1.0) for row in range(3)])
    judge_run(tmp_path)
    path = tmp_path / PREDICTIONS_FILE
    days = pa.array([0, 10**7, None], pa.int32()).view(pa.date32())
    table = pq.read_table(path).append_column("day", days)
    commit_table(path, table.schema, table.to_batches())
    assert [row["day"] for row in first_rows(tmp_path, 9)] == [
        date(1970, 1, 1),
        "29349-01-26",
        None,
    ]
    assert find_row(tmp_path, 1)["day"] == "29349-01-26"
    assert len(find_worst(tmp_path, 3)) == 3
    assert find_flagged(tmp_path, "empty", 3) == []
    found = first_rows(tmp_path, 1, with_kept=False)[0]
    assert found == prediction(0, score=-1.0)


@given(
    st.lists(st.tuples(st.floats(-9, 0, width=32), st.integers(1, 5)), min_size=1, max_size=9),
    st.integers(1, 10),
)
def test_the_worst_rows_have_the_lowest_score_for_each_token(
    tmp_path_factory: pytest.TempPathFactory, scored: list[tuple[float, int]], most: int
) -> None:
    rows = [
        prediction(row, score=score, output_ids=[7] * length)
        for row, (score, length) in enumerate(scored)
    ]
    worst = find_worst(write(tmp_path_factory.mktemp("run"), rows), most)
    ordered = sorted(rows, key=lambda row: row["score"] / len(row["output_ids"]))
    assert numbers(worst) == numbers(ordered)[:most]


@pytest.mark.parametrize(
    ("rows", "cause"),
    [([prediction(0, score=None)], "its engine gives none"), ([], "it has no questions")],
)
def test_without_scores_there_is_no_worst_row(
    tmp_path: Path, rows: list[dict[str, Any]], cause: str
) -> None:
    write(tmp_path, rows)
    with pytest.raises(InputError, match=f"has no scores: {cause}"):
        find_worst(tmp_path, 3)


def test_rejects_are_counted_by_reason_and_some_are_shown(tmp_path: Path) -> None:
    rejects = first_rejects(write(tmp_path, [prediction(0)]), 2)
    assert numbers(rejects.rows) == [1, 4]
    assert rejects.reasons == {"empty_field": 2, "not_json": 1}


def test_rows_are_shown_with_their_flags(tmp_path: Path) -> None:
    texts = {0: "谁？", 3: "", 5: "泰山？", 6: "谁"}
    rows = [prediction(row, question=text, output_ids=[2]) for row, text in texts.items()]
    write(tmp_path, rows)
    assert "quality" not in add_flags(tmp_path, first_rows(tmp_path, 1))[0]  # an older version
    judge_run(tmp_path)
    shown = add_flags(tmp_path, find_flagged(tmp_path, "duplicate", 9) + first_rows(tmp_path, 2))
    assert numbers(shown) == [6, 0, 3]
    assert [row["quality"]["flags"] for row in shown] == [
        ["duplicate"],
        [],
        ["empty", "not_asking"],
    ]
    assert shown[0]["quality"]["duplicate_of"] == 0
    assert [row["quality"].get("original_question") for row in shown] == ["谁？", None, None]


def test_the_first_rows_with_a_flag_are_found(tmp_path: Path) -> None:
    rows = [prediction(row, question="谁？", output_ids=[2]) for row in range(7)]
    write(tmp_path, rows)
    with pytest.raises(InputError, match="has no flags: an older version"):
        find_flagged(tmp_path, "duplicate", 3)
    judge_run(tmp_path)
    assert numbers(find_flagged(tmp_path, "duplicate", 3)) == [1, 2, 3]
    assert find_flagged(tmp_path, "empty", 3) == []
    with pytest.raises(InputError, match="no flag cheap; the flags are unfinished, empty"):
        find_flagged(tmp_path, "cheap", 3)
