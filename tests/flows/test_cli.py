from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import demo_overrides, wenti
from tests.support.rehearsal import ROOT

HEAVY = {"prefect", "paddle", "paddlenlp", "pandas", "pyarrow", "numpy"}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, flows.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not HEAVY & set(done.stdout.split())
    assert "run" in wenti("--help").stdout


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset.predict_file=nowhere.jsonl"], ["nowhere.jsonl", "no such file"]),
        (["dataset.predict_file=README.md"], ["unknown format", ".parquet"]),
        (["model.model_name_or_path=./nowhere"], ["no such folder"]),
        (["model.model_name_or_path=tests"], ["vocab.txt is missing", "config.json"]),
        (["predict.device=gpu"], ["no gpu", "paddlepaddle-gpu", "predict.device: cpu"]),
        (["dataset.max_seq_len=600"], ["dataset.max_seq_len", "at most 514"]),
        (["predict.precision=fp16"], ["predict.precision", "half precision needs a GPU"]),
        (["export.engine=faster_transformer"], ["FasterTransformer", "CPU only", "native"]),
        (["store.path=README.md"], ["store.path", "is a file"]),
        (["decode.num_beams=0", "predict.batch_sise=1"], ["2 faults", "batch_size"]),
    ],
)
def test_what_cannot_work_is_one_message_with_exit_code_2_and_writes_nothing(
    tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    store = tmp_path / "store"
    places = [] if "store.path=README.md" in overrides else [f"store.path={store}"]
    options = [part for text in (*places, *overrides) for part in ("--set", text)]
    done = wenti("run", "configs/demo.yaml", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not store.exists()


def test_an_empty_input_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    done = wenti("run", "configs/demo.yaml", "--set", f"dataset.predict_file={empty}")
    assert (done.returncode, "is empty" in done.stderr) == (2, True)


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = wenti("run", str(tmp_path / "nowhere.yaml"))
    assert (done.returncode, "no such file" in done.stderr) == (2, True)


def test_a_full_disk_is_one_message_with_exit_code_2_and_leaves_no_part(small_disk: Path) -> None:
    done = wenti("export", "configs/demo.yaml", "--set", f"store.path={small_disk / 'store'}")
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size] == []


def test_status_before_and_after_a_run(demo_store: Path, tmp_path: Path) -> None:
    def states(store: Path) -> dict[str, str]:
        options = (part for text in demo_overrides(store) for part in ("--set", text))
        done = wenti("status", "configs/demo.yaml", *options, "--json")
        assert done.returncode == 0, done.stderr
        return {stage["name"]: stage["state"] for stage in json.loads(done.stdout)["stages"]}

    before = states(tmp_path / "new")
    assert before == {"export": "missing", "load": "missing", "predict": "missing"}
    assert not (tmp_path / "new").exists()
    after = states(demo_store)
    assert (after["export"], after["load"]) == ("made", "made")
    assert after["predict"].endswith("shards made")


def test_show_prints_passage_answer_question_and_reference(demo_store: Path) -> None:
    done = wenti("show", "latest", "--store", str(demo_store), "-n", "2", "--json")
    rows = json.loads(done.stdout)
    assert len(rows) == 2
    printed = wenti("show", "latest", "--store", str(demo_store), "-n", "2").stdout
    for row in rows:
        assert row["question"] in printed
        assert row["answer"] in printed
    assert "passage" in printed
    assert "reference" in printed


def test_show_names_the_runs_that_are_there(demo_store: Path) -> None:
    done = wenti("show", "nothing", "--store", str(demo_store))
    assert done.returncode == 2
    assert (demo_store / "runs/latest").resolve().name in done.stderr
