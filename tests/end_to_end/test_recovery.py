"""Faults in the whole program, with the fake engine: what is lost, reported and remade."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.engine.fake import FAULTS_VARIABLE, row_digest
from tasks.store.manifest import MANIFEST
from tests.support.rehearsal import SHARDS, WENTI, Rehearsal, block

REASONS = {
    "crash": "engine_crash",
    "hang": "timeout",
    "out_of_memory": "out_of_memory",
    "wrong_shape": "bad_output",
    "not_a_number": "bad_output",
}


@pytest.fixture
def digests(rehearsal: Rehearsal) -> dict[int, str]:
    """The digest that identifies each usable row in faults, by row number."""
    parts = sorted(rehearsal.undisturbed.glob("datasets/*/part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return {row["row"]: row_digest(row["input_ids"]) for row in rows}


@pytest.fixture
def store(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    return rehearsal.store_without_shards(tmp_path / "store")


@pytest.fixture
def done(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    """The test's own copy of a store in which the job is done."""
    return Path(shutil.copytree(rehearsal.undisturbed, tmp_path / "store", symlinks=True))


def faulty(folder: Path, *rows: Mapping[str, object]) -> dict[str, str]:
    path = folder / "faults.json"
    path.write_text(json.dumps({"rows": rows}))
    return {FAULTS_VARIABLE: str(path)}


def shards_of(rehearsal: Rehearsal, store: Path) -> list[dict[str, Any]]:
    answer = rehearsal.wenti("status", "newest", "--store", store, "--json")
    assert answer.returncode == 0, answer.stderr
    shards: list[dict[str, Any]] = json.loads(answer.stdout)["shards"]
    return shards


@pytest.mark.parametrize("kind", ["crash", "hang", "wrong_shape", "not_a_number"])
def test_a_fault_that_passes_changes_no_byte_and_is_told(
    rehearsal: Rehearsal, store: Path, tmp_path: Path, digests: dict[int, str], kind: str
) -> None:
    fault = faulty(tmp_path, {"row": digests[8], "kind": kind, "once": True})
    code, messages = rehearsal.run(store, "predict.batch_deadline_seconds=10", **fault)
    assert code == 0, messages
    rehearsal.check(store)
    attempts = [(shard["state"], shard["attempts"]) for shard in shards_of(rehearsal, store)]
    assert sorted(attempts) == [("made", 1)] * (SHARDS - 1) + [("made", 2)]


@pytest.mark.parametrize("kind", REASONS)
def test_a_row_that_breaks_the_engine_is_rejected_with_the_reason_and_no_other_is(
    rehearsal: Rehearsal, store: Path, tmp_path: Path, digests: dict[int, str], kind: str
) -> None:
    fault = faulty(tmp_path, {"row": digests[8], "kind": kind})
    code, messages = rehearsal.run(store, "predict.batch_deadline_seconds=10", **fault)
    assert code == 0, messages
    results, whole = (place / "runs/latest" for place in (store, rehearsal.undisturbed))
    rejects = pq.read_table(results / "rejects.parquet").to_pylist()
    expected = pq.read_table(whole / "rejects.parquet").to_pylist()
    assert [row for row in rejects if row["row"] != 8] == expected
    assert [row["reason"] for row in rejects if row["row"] == 8] == [REASONS[kind]]
    questions = pq.read_table(results / "predictions.parquet").to_pylist()
    others = pq.read_table(whole / "predictions.parquet").to_pylist()
    assert questions == [row for row in others if row["row"] != 8]


def test_failed_shards_are_named_and_made_by_a_rerun(rehearsal: Rehearsal, store: Path) -> None:
    first, second = block(rehearsal, store, 1, 3)
    code, messages = rehearsal.run(store)
    assert code == 3
    assert "shard 1:" in messages
    assert "shard 3:" in messages
    shards = shards_of(rehearsal, store)
    assert [shard["state"] for shard in shards] == ["made", "failed", "made", "failed", "made"]
    assert {shard["attempts"] for shard in shards if shard["state"] == "failed"} == {3}
    assert all("IsADirectoryError" in shards[failed]["last_error"] for failed in (1, 3))
    assert not (store / "runs/latest").exists()  # no run is complete
    run = (store / "runs/newest").resolve()

    first.rmdir()
    rerun = rehearsal.wenti("rerun", run, "--shards", "1")
    assert rerun.returncode == 3
    assert "1 of 5 shards were left out" in rerun.stderr
    assert "shards 3: left out" in rerun.stderr
    second.rmdir()
    rerun = rehearsal.wenti("rerun", run, "--failed", "--json")
    assert rerun.returncode == 0, rerun.stderr
    assert json.loads(rerun.stdout)["metrics"]["shards_made"] == 1
    rehearsal.check(store)
    states = [shard["state"] for shard in shards_of(rehearsal, store)]
    assert states == ["reused", "reused", "reused", "made", "reused"]
    again = rehearsal.wenti("rerun", "latest", "--failed", "--store", store)
    assert (again.returncode, "no shard failed" in again.stderr) == (2, True)


def test_a_forced_rerun_makes_its_shards_anew_with_the_same_bytes(
    rehearsal: Rehearsal, done: Path
) -> None:
    before = {path: path.stat().st_ino for path in done.glob("predictions/*/shard-*.parquet")}
    rerun = rehearsal.wenti("rerun", "latest", "--shards", "2-3", "--force", "--store", done)
    assert rerun.returncode == 0, rerun.stderr
    after = {path: path.stat().st_ino for path in before}
    changed = {path.name[:11] for path in before if before[path] != after[path]}
    assert changed == {"shard-00002", "shard-00003"}
    rehearsal.check(done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shards", "7"], "there is no shard 7; the run has shards 0 to 4"),
        (["--shards", "one"], "is not a list of shards"),
        (["--shards", "1", "--failed"], "not both"),
    ],
)
def test_a_rerun_of_shards_that_there_are_not_says_so(
    rehearsal: Rehearsal, tmp_path: Path, options: list[str], message: str
) -> None:
    store = tmp_path / "store"
    shutil.copytree(rehearsal.undisturbed, store, symlinks=True)
    answer = rehearsal.wenti("rerun", "latest", *options, "--store", store)
    assert answer.returncode == 2
    assert message in answer.stderr


def test_a_partial_result_is_marked_everywhere_until_a_whole_one_takes_its_place(
    rehearsal: Rehearsal, store: Path, tmp_path: Path
) -> None:
    blocked = block(rehearsal, store, 2)
    output = tmp_path / "questions.txt"
    options = ("aggregate.allow_partial=true", f"aggregate.output_path={output}")
    code, messages = rehearsal.run(store, *options)
    assert code == 0, messages
    results = store / "runs/latest"
    metrics = json.loads((results / "metrics.json").read_bytes())
    assert (metrics["partial"], metrics["rows_missing"]) == (True, 6)
    assert metrics["rows_in"] == metrics["predictions"] + metrics["rejects"]
    for name in ("run.json", "_SUCCESS"):
        assert json.loads((results / name).read_bytes())["partial"] is True
    for name in ("predictions.parquet", "rejects.parquet"):
        assert b"wenti.partial" in pq.read_schema(results / name).metadata
    lines = (results / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["partial"] for line in lines)
    assert (results / "predictions.txt.partial").is_file()
    assert output.with_name("questions.txt.partial").is_file()

    blocked[0].rmdir()
    assert rehearsal.run(store, *options)[0] == 0
    assert not output.with_name("questions.txt.partial").exists()
    rehearsal.check(store)


def test_a_changed_setting_or_input_is_told_with_what_follows(
    rehearsal: Rehearsal, done: Path, tmp_path: Path
) -> None:
    messages = rehearsal.run(done, "decode.num_beams=4")[1]
    assert "export: decode.num_beams was 6 and is 4" in messages
    changed = tmp_path / "passages.jsonl"
    lines = rehearsal.passages.read_text(encoding="utf-8").splitlines()
    changed.write_text("\n".join(lines[1:]), encoding="utf-8")
    messages = rehearsal.run(done, f"dataset.predict_file={changed}", "decode.num_beams=4")[1]
    assert f"load: dataset.predict_file was {rehearsal.passages} and is {changed}" in messages


def test_a_rerun_of_a_run_whose_passages_changed_is_refused(
    rehearsal: Rehearsal, store: Path, tmp_path: Path
) -> None:
    passages = tmp_path / "passages.jsonl"
    passages.write_bytes(rehearsal.passages.read_bytes())
    assert rehearsal.run(store, f"dataset.predict_file={passages}")[0] == 0
    passages.write_bytes(passages.read_bytes() + b'{"context": "a", "answer": "b"}\n')
    answer = rehearsal.wenti("rerun", "latest", "--store", store)
    assert answer.returncode == 2
    assert "the content of dataset.predict_file changed" in answer.stderr


@pytest.mark.parametrize(
    "harms", [("truncated", "empty", "deleted", "swapped"), ("swapped", "bit", "truncated", "bit")]
)
def test_repair_puts_every_harmed_checkpoint_and_result_right(
    rehearsal: Rehearsal, done: Path, harms: tuple[str, ...]
) -> None:
    tables = sorted(done.glob("predictions/*/shard-*.parquet"))
    victims = [
        tables[1],
        next(done.glob("datasets/*/part-*.parquet")),
        next(done.glob(f"exports/*/{MANIFEST}")),
        (done / "runs/latest").resolve() / "predictions.txt",
    ]
    for victim, harm in zip(victims, harms, strict=True):
        do_harm(victim, tables[2], harm)
    found = rehearsal.wenti("verify", "latest", "--store", done, "--json")
    assert found.returncode == 3
    wrong = {part["part"] for part in json.loads(found.stdout) if part["state"] != "ok"}
    assert {"export", "dataset", "results"} <= wrong
    run = (done / "runs/latest").resolve()
    repaired = rehearsal.wenti("verify", run, "--repair", "--json")
    assert repaired.returncode == 0, repaired.stderr + repaired.stdout
    rehearsal.check(done, run.name)
    rehearsal.check(done)


def do_harm(victim: Path, other: Path, harm: str) -> None:
    content = victim.read_bytes()
    if harm == "deleted":
        victim.unlink()
    elif harm == "swapped":
        victim.write_bytes(other.read_bytes())
    else:
        kept = {"truncated": content[:-9], "empty": b"", "bit": bytes([content[0] ^ 1])}[harm]
        victim.write_bytes(kept + (content[1:] if harm == "bit" else b""))


def test_gc_removes_what_no_run_refers_to_and_nothing_else(
    rehearsal: Rehearsal, store: Path
) -> None:
    assert rehearsal.run(store, "decode.num_beams=2")[0] == 0
    assert rehearsal.run(store)[0] == 0
    dry = rehearsal.wenti("gc", "--keep-runs", "1", "--store", store, "--json")
    listed = [Path(one["path"]) for one in json.loads(dry.stdout)["garbage"]]
    assert dry.returncode == 0
    assert all(path.exists() for path in listed)
    done = rehearsal.wenti("gc", "--keep-runs", "1", "--delete", "--store", store)
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in listed)
    counts = [len(list(store.glob(f"{kind}/*"))) for kind in ("exports", "predictions", "datasets")]
    assert counts == [1, 1, 1]
    rehearsal.check(store)
    assert "nothing to remove" in rehearsal.wenti("gc", "--store", store).stdout


def test_gc_waits_for_no_run_and_says_so(
    rehearsal: Rehearsal, store: Path, tmp_path: Path, digests: dict[int, str]
) -> None:
    fault = faulty(tmp_path, {"row": digests[0], "kind": "hang"})
    with rehearsal.start(store, **fault) as process:
        try:
            while not list(store.glob("runs/2*/run.json")):
                assert process.poll() is None
                time.sleep(0.02)
            answer = rehearsal.wenti("gc", "--delete", "--store", store)
        finally:
            process.kill()
            process.communicate()
    assert answer.returncode == 2
    assert "a run" in answer.stderr
    assert rehearsal.run(store)[0] == 0
    rehearsal.check(store)


def test_a_runs_own_config_repeats_it_from_any_folder(
    rehearsal: Rehearsal, store: Path, tmp_path: Path
) -> None:
    assert rehearsal.run(store)[0] == 0
    config = (store / "runs/latest").resolve() / "config.yaml"
    again = subprocess.run(
        [str(WENTI), "run", str(config), "--json"],
        cwd=tmp_path,
        env=rehearsal.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["metrics"]["shards_reused"] == SHARDS
