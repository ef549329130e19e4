from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.aggregate.joining import shards
from tasks.aggregate.joining.shards import check_rows, has_each_once
from tasks.aggregate.outputs import as_lines, write_output, write_texts
from tasks.aggregate.partial import Missing
from tasks.errors import StoreCorruptionError
from tasks.parallel import rows as rows_of_helpers
from tasks.parallel.rows import RowHelpers
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
    rest |= {"is_finished": False, "token_count": 1}
    records = [{"row": row, "id": str(row), **texts, **rest} for row in rows]
    return pa.RecordBatch.from_pylist(records, schema=PREDICTIONS)


def with_column(rows: pa.RecordBatch, name: str, values: list[Any]) -> pa.RecordBatch:
    """Return rows with other values in a column."""
    columns = rows.to_pydict() | {name: values}
    return pa.RecordBatch.from_pydict(columns, schema=rows.schema)


def line_of(rows: pa.RecordBatch) -> dict[str, Any]:
    """Return the content of the only JSON line of the rows."""
    (line,) = map(json.loads, as_lines(rows))
    assert isinstance(line, dict)
    return line


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


@settings(max_examples=200)
@given(st.lists(st.booleans(), max_size=12), st.data())
def test_rows_are_checked_some_at_a_time(is_predicted: list[bool], data: st.DataObject) -> None:
    rows = list(enumerate(is_predicted))
    both = [[row for row, is_in in rows if is_in is where] for where in (True, False)]
    count = len(is_predicted)
    if is_damaged := data.draw(st.booleans()):
        wrong = data.draw(st.lists(st.integers(-1, 13), max_size=9))
        both[data.draw(st.integers(0, 1))] = data.draw(st.sampled_from([wrong, sorted(wrong)]))
    sources = [
        iter([np.array(one[at : at + 3], np.int64) for at in range(0, len(one), 3)]) for one in both
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_CHECKED", data.draw(st.integers(1, 5)))
        found = has_each_once(sources, count)
    expected = sorted(both[0] + both[1]) == list(range(count))
    is_ascending = all(one == sorted(one) for one in both)
    assert found == expected if is_ascending else expected or not found
    assert is_damaged or found


@given(
    st.lists(st.sampled_from([None, "", "问题？", "a\u2028b\x85\r\nc", "\n"]), max_size=12),
    st.integers(0, 3),
)
def test_line_n_of_every_text_belongs_to_row_n(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], rejected_at_the_end: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows_in = len(texts) + rejected_at_the_end
    records = [
        {**prediction_batch([row]).to_pylist()[0], "question": text, "reference": f"r{text}"}
        for row, text in enumerate(texts)
        if text is not None
    ]
    batch = pa.RecordBatch.from_pylist(records, schema=PREDICTIONS)
    commit_table(folder / "predictions.parquet", PREDICTIONS, [batch])
    write_output(folder / "predictions.parquet", rows_in, folder / "out.txt", Missing())
    joined = [None if text is None else " ".join(text.splitlines()) for text in texts]
    joined += [None] * rejected_at_the_end
    expected = {"out.txt": [text or "" for text in joined]}
    if records:
        references = ["" if text is None else " ".join(f"r{text}".splitlines()) for text in texts]
        expected["out.txt.reference.txt"] = references + [""] * rejected_at_the_end
    for name, lines in expected.items():
        assert (folder / name).read_text().split("\n") == [*lines, ""], name
        assert len((folder / name).read_text().splitlines()) == rows_in


def test_an_old_file_of_references_is_left_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictions, _rejects = write_rows(tmp_path, [0], [])
    old = tmp_path / "out.txt.reference.txt"
    old.write_text("of yesterday\n", encoding="utf-8")
    write_output(predictions, 1, tmp_path / "out.txt", Missing())
    assert old.read_text(encoding="utf-8") == "of yesterday\n"
    assert f"{old} is not of this run" in caplog.text


def test_a_json_line_says_which_row_it_is_and_what_was_cut_off() -> None:
    rows = prediction_batch([7])
    assert line_of(rows)["row"] == 7
    assert "cut" not in line_of(rows)
    assert line_of(with_column(rows, "cut", ["answer"]))["cut"] == "answer"
    older = rows.select([name for name in rows.schema.names if name != "cut"])
    assert "cut" not in line_of(older)


def test_alternatives_stand_in_the_line_only_when_there_are_some() -> None:
    rows = prediction_batch([7])
    assert "alternatives" not in line_of(rows)
    others = [{"question": "p", "score": 0.25}]
    assert line_of(with_column(rows, "alternatives", [others]))["alternatives"] == others


@given(
    texts=st.lists(st.text(), min_size=4, max_size=4),
    reference=st.none() | st.text(),
    score=st.none() | st.floats(width=32),
    is_partial=st.booleans(),
)
def test_a_json_line_is_what_the_encoder_of_json_writes(
    texts: list[str], reference: str | None, score: float | None, is_partial: bool
) -> None:
    names = ("id", "context", "answer", "question")
    row = {"row": 7, **dict(zip(names, texts, strict=True)), "reference": reference}
    rows = prediction_batch([7])
    for name, value in {**row, "score": score}.items():
        rows = with_column(rows, name, [value])
    expected = row | {"score": None if score is None else round(score, 6)}
    expected |= {"partial": True} if is_partial else {}
    assert list(as_lines(rows, is_partial)) == [json.dumps(expected, ensure_ascii=False)]


def test_references_with_line_breaks_keep_to_their_line(tmp_path: Path) -> None:
    predictions = tmp_path / "predictions.parquet"
    commit_table(predictions, PREDICTIONS, [prediction_batch([0, 1], reference="first\nsecond")])
    write_output(predictions, 2, tmp_path / "out.txt", Missing())
    assert (tmp_path / "out.txt").read_text() == "q\nq\n"
    assert (tmp_path / "out.txt.reference.txt").read_text() == "first second\n" * 2


def test_a_folder_with_the_name_of_the_mark_is_left_as_it_is(tmp_path: Path) -> None:
    predictions, _rejects = write_rows(tmp_path, [0], [])
    (tmp_path / "q.txt.partial").mkdir()
    (tmp_path / "q.txt.partial/mine").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError, match="Is a directory"):
        write_output(predictions, 1, tmp_path / "q.txt", Missing())
    assert (tmp_path / "q.txt.partial/mine").read_text(encoding="utf-8") == "mine"


def test_other_processes_write_the_lines_that_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, every = tmp_path / "predictions.parquet", range(0, 60, 2)
    batches = [prediction_batch([*every[at : at + 7]], f"r{at}") for at in range(0, 30, 7)]
    commit_table(predictions, PREDICTIONS, batches)
    monkeypatch.setattr(rows_of_helpers, "count_cores", lambda: 2)
    with RowHelpers(400_000) as helpers:
        assert helpers.count == 2
        write_texts(predictions, PREDICTIONS, 60, Missing(()), helpers)
    lines = (tmp_path / "predictions.jsonl").read_bytes()
    expected = [line for batch in batches for line in as_lines(batch)]
    assert lines == "".join(f"{line}\n" for line in expected).encode()
    assert (tmp_path / "predictions.txt").read_text(encoding="utf-8") == "q\n\n" * 30
