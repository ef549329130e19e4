"""`wenti bench`: a small benchmark from start to end, its processes, and invalid options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.bench.contenders.contender import Contender
from tasks.engine.paddle.installation import describe_paddle
from tasks.errors import WorkerError
from tests.support.rehearsal import ROOT

SIZES = {"layers": 2, "hidden": 32, "vocab": 200, "length": 20, "steps": 4, "rows": 6, "rounds": 1}
TINY = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
FIGURES = [
    "ratio_to_generate",
    "ratio_to_generate_tuned",
    "floor_share",
    "gemm_gflops",
    "seconds_per_row",
    "generate_seconds_per_row",
    "rows_per_second",
    "tokens_per_second",
    "peak_rss_mb",
    "cpu_ratio_to_other",
    "other_floor_cpu_share",
]


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("wenti")
    return subprocess.run(
        [str(program), "bench", *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=600,
    )


def test_a_small_benchmark_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    # The other environment is this one; tests have no second one.
    other = ["--python", sys.executable]
    done = bench("engine", *TINY, "--uneven", "--batch-size", "3", *other, "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text(encoding="utf-8"))
    assert all(result[name] > 0 for name in FIGURES), result
    # Both contenders did the same work.
    assert result["same_questions"] == result["other_same_questions"] == 1
    assert 0 < result["padding_share"] < result["generate_padding_share"]
    settings = result["settings"]
    assert {**SIZES, "uneven": True, "batch_size": 3}.items() <= settings.items()
    assert settings["contenders"]["example"]["mkl_debug_cpu_type"] is None
    assert settings["contenders"]["example"]["omp_num_threads"] == "1"
    of_both = [settings["contenders"][name]["paddle"] for name in ("native", "other")]
    assert of_both == [describe_paddle()] * 2
    assert settings["processor"]
    assert "seconds a row, native engine" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["engine", "--hidden", "100"], "--hidden 100 cannot be measured"),
        (["engine", "--json", "nowhere/bench.json"], "--json nowhere/bench.json"),
        (["peers", "--python", "nowhere/python"], "make bench-peers"),
        (["engine", "--python", "nowhere/python"], "make install PADDLE=3"),
    ],
)
def test_what_cannot_be_measured_is_one_line_with_exit_code_2(args: list[str], words: str) -> None:
    done = bench(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def contender(code: str) -> Contender:
    return Contender("test", [sys.executable, "-c", code], {"answer": 42}, {"OMP_NUM_THREADS": "7"})


def test_what_a_contender_prints_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "9")
    code = """
import os
from tasks.bench.contenders.lines import answer_lines
def load(order):
    os.system('echo noise of a library')
    names = ('MKL_DEBUG_CPU_TYPE', 'OMP_NUM_THREADS')
    return {name: os.environ.get(name) for name in names}, lambda: print('noise') or order
answer_lines(load)
"""
    with contender(code) as one:
        # Settings of the shell do not change the speed.
        assert one.receive() == {"MKL_DEBUG_CPU_TYPE": None, "OMP_NUM_THREADS": "7"}
        for _ in range(2):
            answer = one.ask()
            assert answer["answer"] == 42
            assert answer["seconds"] >= 0
            assert answer["peak_rss_mb"] > 1


@pytest.mark.parametrize(
    "code", ["raise OSError('no such model')", "input(); exit('no such model')"]
)
def test_the_last_words_of_a_contender_that_dies_are_told(code: str) -> None:
    with contender(code) as one, pytest.raises(WorkerError, match=r"test died .*no such model"):
        one.receive()
