"""Results whose predictions are in parts are the same results, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.aggregate.task import aggregate
from tasks.conversion.convert import convert_run
from tasks.conversion.target import Target
from tasks.operations.compare import compare_runs
from tasks.operations.rows import (
    find_row,
    find_worst,
    first_rows,
    read_quality,
    read_results,
)
from tasks.operations.verify import restore_results, verify_run
from tasks.parallel import rows as helpers
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.predict.jobs import Prediction, ShardOutcome, plan_jobs
from tasks.report.facts import gather_facts
from tasks.runs.find import read_record
from tasks.runs.run import Run
from tasks.store.claims import Made
from tasks.store.manifest import Found, Manifest
from tasks.store.parted import write
from tasks.store.tables import iterate_rows
from tests.support.in_process import Predicted, predict, write_passages
from tests.support.rehearsal import ROOT

LINES = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
ROWS = [{**json.loads(line), "source": f"书{at % 3}"} for at, line in enumerate(LINES[:30])]
BAD = {"id": "bad", "context": "长江"}  # without an answer
SINGLE = ("predictions.parquet", "predictions.jsonl", "predictions.txt")
NO_SPAN = TimeSpan(0.0, 1.0)


def finish(predicted: Predicted) -> tuple[Path, dict[str, Any]]:
    """Aggregate shards; return the folder of the run and its metrics."""
    plan = predicted.plan
    dataset = plan.dataset.find().manifest
    assert dataset is not None
    export = Manifest(kind="export", fingerprint="", decided_by={}, files=())
    stages = [
        StageResult(name, Made(manifest, Found(None)), NO_SPAN)
        for name, manifest in (("export", export), ("load", dataset))
    ]
    outcomes = [
        ShardOutcome(job, manifest)
        for job, manifest in zip(plan_jobs(plan, dataset), predicted.manifests, strict=True)
    ]
    run = Run.start(plan, config_file="/jobs/nightly.yaml")
    metrics = aggregate(plan, run, *stages, Prediction(outcomes, NO_SPAN))
    return Path(run.folder), metrics


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, dict[str, Any]]]:
    """Return runs of the same shards: with single files, in parts, and in parts of helpers."""
    folder = tmp_path_factory.mktemp("jobs")
    passages = write_passages(folder / "rows.jsonl", [*ROWS[:8], BAD, *ROWS[8:]])
    asked = [
        *("aggregate.only_new=true", "aggregate.one_row_per_question=true"),
        *("aggregate.group_by=[source]", "decode.num_return_sequences=2"),
    ]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ROWS_PER_PART", 7)
        for number, form in enumerate(["auto", "false", "false"]):
            # Real ids of runs that start in the same second do not sort by the start.
            patch.setattr("tasks.runs.run.new_run_id", lambda _now, at=number: f"2026-run-{at}")
            places = [
                f"aggregate.output_path={folder / f'{number}.txt'}",
                f"aggregate.output_folder={folder / f'{number}.set'}",
            ]
            if number == 2:
                patch.setattr(helpers, "count_cores", lambda: 2)
                patch.setattr(helpers, "ROWS_PER_HELPER", 10)
            more = (*asked, *places, f"aggregate.single_file={form}")
            found.append(finish(predict(folder / "store", passages, *more)))
    return found


def test_parts_stand_instead_of_the_single_files(runs: list[tuple[Path, dict[str, Any]]]) -> None:
    single, parted = (folder for folder, _ in runs[:2])
    assert {*SINGLE} <= {path.name for path in single.iterdir()}
    expected = {path.name for path in single.iterdir()} - {*SINGLE} | {"predictions"}
    assert {path.name for path in parted.iterdir()} == expected
    parts = [f"part-{number:05d}.parquet" for number in range(5)]
    assert sorted(path.name for path in (parted / "predictions").iterdir()) == [
        "_manifest.json",
        *parts,
    ]
    marked = json.loads((parted / "_SUCCESS").read_text())["files"]
    names = {f"predictions/{name}" for name in ("_manifest.json", *parts)}
    assert names <= {entry["name"] for entry in marked}


def test_other_processes_write_the_same_parts(runs: list[tuple[Path, dict[str, Any]]]) -> None:
    alone, shared = (
        {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}
        for folder, _ in runs[1:]
    )
    assert shared == alone


def test_every_reader_finds_the_same_rows(
    runs: list[tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    (single, told), (parted, told_of_parts), (_, told_again) = runs
    assert read_results(single).equals(read_results(parted), check_metadata=True)
    assert read_quality(single).equals(read_quality(parted))
    tables = [pd.read_parquet(single / SINGLE[0]), pd.read_parquet(parted / "predictions")]
    pd.testing.assert_frame_equal(*tables)
    times = {"stage_seconds", "rows_new", "new_since", "gate"}
    for name in told.keys() - times:
        assert told[name] == told_of_parts[name], name
    assert told["rows_new"] == len(ROWS)
    assert (told_of_parts["rows_new"], told_of_parts["new_since"]) == (0, single.name)
    assert (told_again["rows_new"], told_again["new_since"]) == (0, parted.name)
    for read in (
        lambda folder: first_rows(folder, 9),
        lambda folder: find_row(folder, 25),
        lambda folder: find_worst(folder, 5),
        lambda folder: (
            convert_run(folder, Target.ONE_PER_QUESTION, tmp_path / folder.name)
            and (tmp_path / folder.name).read_bytes()
        ),
        lambda folder: list(iterate_rows(folder / "questions.parquet")),
    ):
        assert read(single) == read(parted)
    compared = compare_runs(single, parted, 5)
    assert (compared.rows["same"], compared.scored) == (len(ROWS), told["references"])
    facts = [gather_facts(folder, read_record(folder), told) for folder in (single, parted)]
    assert facts[0].rows.samples == facts[1].rows.samples
    assert facts[0].rows.rankings == facts[1].rows.rankings
    assert (facts[0].cuts, facts[0].flags) == (facts[1].cuts, facts[1].flags)
    jobs = single.parents[2]
    assert (jobs / "0.txt").read_bytes() == (jobs / "1.txt").read_bytes()
    sets = [list(iterate_rows(jobs / f"{number}.set/part-00000.parquet")) for number in (0, 1)]
    assert sets[0] == sets[1]


def test_one_damaged_part_is_restored_and_no_other_is_written(
    runs: list[tuple[Path, dict[str, Any]]],
) -> None:
    _, (parted, _), (again, _) = runs
    victim = parted / "predictions/part-00002.parquet"
    whole = victim.read_bytes()
    before = {path: path.stat() for path in parted.rglob("*") if path.is_file()}
    victim.write_bytes(whole[:40] + b"?" + whole[41:])
    (results,) = (one for one in verify_run(parted) if one.part == "results")
    assert (results.state, victim.name in str(results.problem)) == ("damaged", True)
    restore_results(parted, again)
    assert victim.read_bytes() == whole
    assert all(one.state == "ok" for one in verify_run(parted) if one.part == "results")
    after = {path: path.stat() for path in before}
    written = {path for path in before if before[path].st_ino != after[path].st_ino}
    assert written == {victim}
