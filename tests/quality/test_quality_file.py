from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.engine.contract import SpecialTokens
from tasks.evaluation.scores import score_file
from tasks.parallel import rows
from tasks.parallel.rows import RowHelpers
from tasks.plan.plan import Plan
from tasks.quality import quality_file
from tasks.quality.quality_file import judge_file, write_quality
from tasks.store.files import describe_file
from tasks.store.tables import PREDICTIONS, commit_table
from tests.support.finished_runs import prediction

UNK = 5
SPECIAL = SpecialTokens(unk=UNK, pad=0, bos=1, eos=2)


def write_predictions(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "predictions.parquet"
    records = [prediction(at, **row) for at, row in enumerate(rows)]
    commit_table(path, PREDICTIONS, [pa.RecordBatch.from_pylist(records, PREDICTIONS)])
    return path


def judge(predictions: Path) -> list[dict[str, Any]]:
    return [row for batch in judge_file(predictions, UNK) for row in batch.to_pylist()]


def test_unknown_tokens_are_found_and_the_endings_are_those_of_the_row(tmp_path: Path) -> None:
    tokens: list[list[int]] = [[9, 2], [9, UNK, 9], [], [UNK]]
    endings = [{"is_finished": at == 0, "token_count": len(ids)} for at, ids in enumerate(tokens)]
    rows = [{"output_ids": ids, **ending} for ids, ending in zip(tokens, endings, strict=True)]
    found = judge(write_predictions(tmp_path, *rows))
    assert [row["has_unknown"] for row in found] == [False, True, False, True]
    assert [{name: row[name] for name in endings[0]} for row in found] == endings


def test_the_size_of_the_parts_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        {"question": f"{at % 7}是什么？" * (1 + at % 3), "context": "泰" * at} for at in range(40)
    ]
    predictions = write_predictions(tmp_path, *texts)
    whole = judge(predictions)
    monkeypatch.setattr(quality_file, "ROWS_AT_A_TIME", 3)
    assert judge(predictions) == whole
    assert [row["row"] for row in whole] == [*range(40)]
    assert sum(row["duplicate_of"] is not None for row in whole) == 40 - 21


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """What `write_quality` needs of a plan: the export's contract, and a folder for the shards."""
    export = tmp_path / "export"
    export.mkdir()
    contract = {
        **{
            "engine": "fake",
            "engine_version": 1,
            "paddle_version": "",
            "inputs": [],
            "outputs": [],
        },
        **{"decode": {}, "special_tokens": SPECIAL.model_dump(), "vocab_size": 10},
        **{"type_vocab_size": 1, "max_positions": 8, "num_sequences": 1},
    }
    (export / "contract.json").write_text(json.dumps(contract))
    folders = {name: SimpleNamespace(folder=tmp_path / name) for name in ("export", "predictions")}
    return cast("Plan", SimpleNamespace(**folders))


def judge_as(plan: Plan, predictions: Path, place: Path) -> dict[str, Any]:
    return write_quality(plan, predictions, describe_file(predictions), place)


def test_the_same_predictions_are_judged_once(plan: Plan, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path, {"question": "谁？"}, {"question": "谁"})
    summary = judge_as(plan, predictions, tmp_path / "first" / "quality.parquet")
    assert summary["flags"]["duplicate"] == summary["flagged_rows"] == 1
    manifest = tmp_path / "predictions" / "quality.json"
    before = manifest.stat().st_mtime_ns
    assert judge_as(plan, predictions, tmp_path / "second" / "quality.parquet") == summary
    assert manifest.stat().st_mtime_ns == before
    files = [tmp_path / name / "quality.parquet" for name in ("first", "second", "predictions")]
    assert len({path.read_bytes() for path in files}) == 1


def test_other_predictions_and_damaged_files_are_judged_again(plan: Plan, tmp_path: Path) -> None:
    place, kept = tmp_path / "quality.parquet", tmp_path / "predictions" / "quality.parquet"
    judge_as(plan, write_predictions(tmp_path, {"question": "谁？"}), place)
    first = place.read_bytes()
    kept.write_bytes(first[:-9] + b"XXXXXXXXX")
    judge_as(plan, tmp_path / "predictions.parquet", place)
    assert place.read_bytes() == kept.read_bytes() == first
    judge_as(plan, write_predictions(tmp_path, {"question": ""}), place)
    assert pq.read_table(place)["is_empty"].to_pylist() == [True]


def test_no_rows_are_no_quality(plan: Plan, tmp_path: Path) -> None:
    summary = judge_as(plan, write_predictions(tmp_path), tmp_path / "quality.parquet")
    assert (summary["rows"], summary["flagged_rows"]) == (0, 0)
    assert {*summary["means"].values()} == {None}


def test_other_processes_judge_and_count_as_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.parquet"
    texts = [f"{at % 37}号的泰山是什么山，名叫 Mount {at % 5}？" for at in range(60)]
    records = [
        prediction(at, question=text, reference=text[at % 9 :] if at % 4 else None)
        for at, text in enumerate(texts)
    ]
    groups = [records[at : at + 7] for at in range(0, 60, 7)]
    batches = [pa.RecordBatch.from_pylist(group, PREDICTIONS) for group in groups]
    commit_table(path, PREDICTIONS, batches)
    monkeypatch.setattr(rows, "count_cores", lambda: 2)
    with RowHelpers(400_000) as helpers:
        assert helpers.count == 2
        assert list(judge_file(path, UNK, helpers)) == list(judge_file(path, UNK))
        assert score_file(path, helpers) == score_file(path)
