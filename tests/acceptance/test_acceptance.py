"""`make gpu-acceptance` without a GPU: its comparisons, and a rehearsal on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.acceptance.chain import Run, compare_questions, judge_questions
from tasks.acceptance.checks import Check, State, carry_out
from tasks.acceptance.variants import Variant
from tasks.engine.gpu.driver import probe_gpus
from tasks.errors import DeviceError, UnusableError, WentiError, WorkerError
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table
from tests.support.finished_runs import prediction
from tests.support.rehearsal import ROOT, Rehearsal

SIZES = {"layers": 1, "hidden": 32, "vocab": 400, "length": 24, "steps": 4}
ROWS = {"rows": 6, "many-rows": 16, "rounds": 1}
TINY = [word for name, value in (SIZES | ROWS).items() for word in (f"--{name}", str(value))]
METRICS = {"rows_per_second": 1.0, "stage_seconds": {}, "bleu_4": None}


def accept(
    *args: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tasks.acceptance", *args]
    return subprocess.run(
        program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def has_gpu() -> bool:
    try:
        return bool(probe_gpus().gpus)
    except DeviceError:
        return False


def write_run(folder: Path, questions: list[str], scores: list[float | None]) -> Run:
    rows = [
        prediction(row, question=question, score=score)
        for row, (question, score) in enumerate(zip(questions, scores, strict=True))
    ]
    folder.mkdir()
    batch = pa.RecordBatch.from_pylist(rows, PREDICTIONS)
    commit_table(folder / "predictions.parquet", PREDICTIONS, [batch])
    commit_table(folder / "rejects.parquet", REJECTS, [])
    return Run(folder, METRICS, folder)


def test_questions_are_compared_row_by_row_and_scores_where_the_question_is_the_same(
    tmp_path: Path,
) -> None:
    ours = write_run(tmp_path / "a", ["甲？", "乙？", "丙？", "丁？"], [-1.0, -2.0, -3.0, None])
    reference = write_run(
        tmp_path / "b", ["甲？", "乙？", "戊？", "丁？"], [-1.0, -2.25, 0.0, -4.0]
    )
    assert compare_questions(ours.folder, reference.folder) == {
        "rows": 4,
        "same_share": 0.75,
        "largest_score_difference": 0.25,
        "examples": [("戊？", "丙？")],
    }


@pytest.mark.parametrize(
    ("engine", "is_trained", "others", "state"),
    [
        ("native", True, 1, "passed"),
        ("native", True, 2, "failed"),
        ("native", False, 2, "told"),
        ("faster_transformer", True, 2, "told"),
    ],
)
def test_the_native_engine_has_to_give_99_of_100_questions_on_a_trained_model(
    tmp_path: Path, engine: str, is_trained: bool, others: int, state: State
) -> None:
    questions = [f"第{row}个？" for row in range(100)]
    reference = write_run(tmp_path / "reference", questions, [-1.0] * 100)
    changed = ["别的？"] * others + questions[others:]
    ours = write_run(tmp_path / "ours", changed, [None] * 100)
    variant = Variant(engine, "fp16", ("gpu:0",))
    check = judge_questions("demo", ours, reference, is_trained, variant)
    assert check.state == state
    assert check.message.startswith(f"{100 - others}.0 % of 100 rows")


@pytest.mark.parametrize(
    ("error", "state"),
    [(UnusableError("no card"), "not run"), (WorkerError("it died"), "failed")],
)
def test_a_check_that_cannot_be_done_says_why(error: WentiError, state: State) -> None:
    def fail() -> Check:
        raise error

    assert carry_out("demo", fail) == Check("demo", state, str(error))


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    done = accept(str(tmp_path / "here"))
    assert done.returncode == 2
    assert done.stderr.startswith("gpu-acceptance needs a GPU: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "here").exists()


def test_a_rehearsal_on_the_cpu_tries_everything_and_leaves_a_page_that_loads_nothing(
    rehearsal: Rehearsal, demo_store: Path, tmp_path: Path
) -> None:
    # The demo has run before, in another test: both of its runs find the export and the shards.
    shutil.copytree(demo_store, tmp_path / "demo" / "store", symlinks=True)
    devices = ["--device", "cpu", "--devices", "cpu:0", "--devices", "cpu:1"]
    tried = ["--engines", "native", "--precisions", "fp32"]
    done = accept(str(tmp_path), *devices, *tried, *TINY, environment=rehearsal.environment)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu-acceptance.json").read_bytes())
    checks = {check["name"]: check for check in result["checks"]}
    assert {name: check["state"] for name, check in checks.items()} == {
        "doctor: native fp32": "passed",
        "demo: CPU, for comparison": "told",
        "demo: native fp32": "passed",
        "base size: CPU, for comparison": "told",
        "base size: native fp32": "told",
        "speed": "told",
        "several devices": "passed",
    }
    assert checks["demo: native fp32"]["figures"]["same_share"] == 1
    assert checks["speed"]["figures"]["native fp32"]["ratio_to_generate"] > 0
    assert checks["several devices"]["figures"]["same_bytes"]
    page = (tmp_path / "gpu-acceptance.html").read_text(encoding="utf-8")
    assert all(name in page for name in checks)
    assert "src=" not in page
