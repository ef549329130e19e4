"""A store that was made by an earlier version is reused completely.

`tests/kept_store` was made by the commit before the code moved into rooms (`wenti run config.yaml`
in a folder with its two files and `data/`). It is made again, by the version that comes before a
change, only when pinned versions of Paddle, PaddleNLP or pyarrow change: these decide checkpoints.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.engine.paddle.installation import describe_paddle
from tests.support.rehearsal import ROOT, Rehearsal

KEPT = ROOT / "tests/kept_store"


def made_with() -> set[tuple[str, str]]:
    """Return the packages, with versions, that decided the checkpoints of the kept store."""
    manifests = [json.loads(path.read_bytes()) for path in KEPT.glob("store/*/*/*.json")]
    decided_by = [manifest["decided_by"] for manifest in manifests if "decided_by" in manifest]
    packages = ("paddlepaddle", "paddlenlp", "pyarrow", "sacrebleu")
    return {(name, one[name]) for one in decided_by for name in packages if name in one}


def installed(package: str) -> str:
    return describe_paddle() if package == "paddlepaddle" else version(package)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with the job of the kept store and a copy of the store."""
    for package, kept in made_with():
        if kept != installed(package):
            pytest.skip(f"the kept store was made with {package} {kept}; make it again")
    folder = tmp_path / "job"
    shutil.copytree(KEPT, folder, symlinks=True)
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def wenti(job: Path, rehearsal: Rehearsal, *args: str) -> str:
    done = rehearsal.wenti(*args, cwd=job)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_everything_is_reused_and_the_results_are_the_same(job: Path, rehearsal: Rehearsal) -> None:
    (before,) = (job / "store/runs").glob("2*")
    answer = json.loads(wenti(job, rehearsal, "run", "config.yaml", "--json"))
    assert (answer["metrics"]["shards_made"], answer["metrics"]["shards_reused"]) == (0, 3)
    after = Path(answer["folder"])
    stages = json.loads((job / after / "run.json").read_bytes())["stages"]
    assert (stages["export"]["reused"], stages["load"]["reused"]) == (True, True)
    for name in ("predictions.parquet", "rejects.parquet"):  # columns were added since
        old, new = (pq.read_table(place / name) for place in (before, job / after))
        assert new.select(old.schema.names).equals(old), name
    # Texts of that version had no line for a reject, and JSON lines no row number.
    texts = [(place / "predictions.txt").read_text() for place in (before, job / after)]
    assert texts[0] == "".join(f"{line}\n" for line in texts[1].splitlines() if line)
    assert len(texts[1].splitlines()) == answer["metrics"]["rows_in"]
    lines, others = (read_lines(place / "predictions.jsonl") for place in (before, job / after))
    assert others == [{"row": one["row"], **line} for one, line in zip(others, lines, strict=True)]
    losses = ("cut", "cut_rows", "unknown_tokens", "unknown_rows", "multiline_rows")
    assert [answer["metrics"][name] for name in losses] == [None] * 5


def test_an_old_run_is_verified_shown_compared_and_reported(
    job: Path, rehearsal: Rehearsal
) -> None:
    (before,) = (job / "store/runs").glob("2*")
    for command in ("verify", "status", "show", "report"):
        wenti(job, rehearsal, command, before.name, "--store", "store")
    (before / "report.html").unlink()
    assert Path(wenti(job, rehearsal, "report", before.name, "--store", "store").strip()).is_file()
    wenti(job, rehearsal, "compare", before.name, before.name, "--store", "store")
    wenti(job, rehearsal, "gc", "--store", "store")
