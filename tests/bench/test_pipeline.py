"""`wenti bench pipeline`: its input, what it reads of processes, and a small run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.bench import MAIN
from tasks.bench.chain.passages import write_passages
from tasks.bench.chain.processes import follow
from tasks.bench.options import PARENT, PipelineOptions
from tasks.bench.pipeline import PARTS, bench_pipeline
from tasks.errors import UnusableError, WorkerError
from tests.support.rehearsal import outside_environment

SPIN = "import time\nwhile time.process_time() < {}: pass\n"
CHILD = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {!r}], check=True)\n"
SAY = "import sys\nprint('INFO {}', file=sys.stderr, flush=True)\n"


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_equal_seeds_give_equal_bytes_and_all_rows_differ(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_passages(tmp_path / name, rows=5000, characters=40, seed=seed)
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    rows = [json.loads(line) for line in (tmp_path / "a").read_text("utf-8").splitlines()]
    assert len({row["context"] for row in rows}) == 5000
    assert {len(row["context"]) for row in rows} == {40}
    assert all(row["answer"] in row["context"] for row in rows)


def test_cpu_time_is_told_by_stage_and_by_process(tmp_path: Path) -> None:
    spins = [SPIN.format(seconds) for seconds in (0.4, 1.0)]
    child = CHILD.format(SPIN.format(0.6))
    code = spins[0] + SAY.format("aggregate: joining the shards") + spins[1] + child
    total, usage = follow(start(code), tmp_path / "latest")
    # Looks are some time apart, and a busy machine makes it longer: what is certain is the total.
    assert total >= 1.6
    assert usage.parts["aggregate"] > 0
    assert usage.peaks["parent"] > 1


def test_a_run_that_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="exit code 3: no such model"):
        follow(start("import sys\nprint('no such model', file=sys.stderr)\nsys.exit(3)"), tmp_path)


def test_a_small_benchmark_of_the_chain(
    server_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in outside_environment(server_url, tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    options = PipelineOptions((3, 40), characters=50, rows_per_shard=16)
    result = bench_pipeline(options, [sys.executable, "-c", MAIN])
    assert [(point["run"], point["rows"]) for point in result["points"]] == [
        (kind, rows) for rows in (3, 40) for kind in ("fresh", "reused")
    ]
    for point in result["points"]:
        assert point["cpu_seconds"] > point["start"] > 0
        assert point["parent_mb"] > 1
        assert point["report_mb"] > 0
        if point["run"] == "reused":  # a worker of few rows may have ended before it is measured
            assert point["worker_mb"] == 0
        assert (point["added_us_a_row"] is None) == (point["rows"] == 3)
    assert set(PARENT) < set(PARTS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (PipelineOptions(rows=(0, 5)), "--rows 0 cannot be measured"),
        (PipelineOptions(rows_per_shard=0), "--rows-per-shard 0 cannot be measured"),
    ],
)
def test_sizes_out_of_range_are_refused(options: PipelineOptions, words: str) -> None:
    with pytest.raises(UnusableError, match=words):
        bench_pipeline(options, [])
