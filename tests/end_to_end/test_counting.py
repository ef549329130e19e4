"""What is rejected or cut is counted, can be found, and can end a run; lines belong to rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.errors import InputError
from tests.support.commands import RunFlow

Job = Callable[..., dict[str, Any]]

LAKE = "洪泽湖位于江苏省，是一个大湖。"
ROWS = [
    {"context": LAKE * 60 + "维纳恩湖位于瑞典。", "answer": "瑞典"},  # the answer's sentence is cut
    {"context": "维纳恩湖位于瑞典。", "answer": "瑞典"},
    {"context": "", "answer": "鸭绿江"},
    {"context": "维纳恩湖位于瑞典。", "answer": "瑞典" * 400},  # nothing of the passage is left
    {"context": "😀位于瑞典。", "answer": "瑞典"},
    "no object",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counting")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (folder / "passages.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def job(folder: Path, run_demo: RunFlow) -> Job:
    """A function that runs the job of this module with overrides, in one store."""

    def run(*overrides: str) -> dict[str, Any]:
        passages = f"dataset.predict_file={folder / 'passages.jsonl'}"
        return run_demo(folder / "store", passages, "export.engine=fake", *overrides)

    return run


@pytest.fixture(scope="module")
def result(job: Job, folder: Path) -> dict[str, Any]:
    """A finished run, whose store later runs reuse."""
    return job(f"aggregate.output_path={folder / 'out.txt'}")


def test_what_the_model_does_not_see_is_counted_and_can_be_found(result: dict[str, Any]) -> None:
    metrics = result["metrics"]
    assert metrics["rows_in"] == metrics["predictions"] + metrics["rejects"] == len(ROWS)
    assert metrics["reject_reasons"] == {"empty_field": 1, "not_an_object": 1}
    assert metrics["cut"] == {"answer": 1, "answer_in_passage": 1}
    assert (metrics["cut_rows"], metrics["unknown_rows"], metrics["unknown_tokens"]) == (2, 1, 1)
    assert (metrics["multiline_rows"], metrics["multiline_at"]) == (0, [])
    table = pq.read_table(Path(result["folder"]) / "predictions.parquet").to_pylist()
    found = {row["row"]: (row["cut"], row["unknown_tokens"]) for row in table}
    assert found == {0: ("answer_in_passage", 0), 1: (None, 0), 3: ("answer", 0), 4: (None, 1)}
    with (Path(result["folder"]) / "predictions.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    assert {line["row"]: line.get("cut") for line in lines} == {
        row: cut for row, (cut, _unknown) in found.items()
    }


def test_line_n_belongs_to_row_n(result: dict[str, Any], folder: Path) -> None:
    table = pq.read_table(Path(result["folder"]) / "predictions.parquet").to_pylist()
    questions = {row["row"]: row["question"] for row in table}
    expected = [questions.get(row, "") for row in range(len(ROWS))]
    for path in (folder / "out.txt", Path(result["folder"]) / "predictions.txt"):
        assert path.read_text(encoding="utf-8").split("\n") == [*expected, ""]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("dataset.on_bad_row=fail", "row 2, line 3: empty_field"),
        ("dataset.max_rejected=0.3", r"2 of 6 rows \(33\.3 %\) were rejected"),
        ("dataset.max_cut=1", r"2 of 6 rows \(33\.3 %\) are longer"),
    ],
)
def test_a_rule_is_asked_of_a_reused_dataset_before_anything_is_predicted(
    result: dict[str, Any], job: Job, folder: Path, rule: str, message: str
) -> None:
    assert result["metrics"]["shards_made"] == 1
    shards = sorted(folder.glob("store/predictions/*/*.parquet"))
    with pytest.raises(InputError, match=message):
        job(rule, "decode.num_beams=3")  # so that there are shards to make
    assert sorted(folder.glob("store/predictions/*/*.parquet")) == shards
    record = json.loads((folder / "store/runs/newest/run.json").read_bytes())
    assert record["state"] == "failed"
