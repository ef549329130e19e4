"""Simulation: all of a run of many rows but tokenizing, engine and network.

    python -m tests.support.scale --rows 1000000 [--without-rows] [--single-file]

Dataset and answers are made up. Planning, looking up, claims, journal, shards, known rows, the
check of the rows and aggregate are the real ones, in this process. For each part it prints the CPU
seconds of all threads, per row too, and the peak of the memory of this process that it could not
give back: without files that are mapped.

With `--without-rows`, the shards are empty and nothing is aggregated: what is left is the work of
the process that drives the places of a cluster, and the check of the rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from threading import Event, Thread
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.aggregate import outputs, task
from tasks.aggregate.joining import kept
from tasks.aggregate.joining.shards import has_each_once
from tasks.config.loading import load_settings
from tasks.engine.fake import export_fake
from tasks.load.parts import REJECTS_FILE, ROWS_PER_PART, DatasetDetails
from tasks.plan.plan import Plan, make_plan
from tasks.plan.stage_result import StageResult, TimeSpan
from tasks.predict.jobs import Prediction, ShardJob, ShardOutcome, look_up_all, plan_jobs
from tasks.predict.known_rows import find_known_rows
from tasks.predict.shards import ShardDetails
from tasks.predict.waves import plan_waves
from tasks.predict.workers.pool import ClaimingPool
from tasks.runs.run import Run
from tasks.store.claims import Made
from tasks.store.manifest import Details, Found, Manifest, commit_manifest
from tasks.store.storage import FileEntry
from tasks.store.tables import DATASET, REJECTS, SHARD, commit_table
from tests.support.in_process import write_passages
from tests.support.rehearsal import ROOT

ROWS_PER_SHARD = 4096
REJECTED_EVERY = 1000  # rows of the input
TOKENS, ANSWER_TOKENS = 24, 12
PASSAGE = "泰山位于山东省中部，主峰玉皇顶海拔约一千五百米，自古就是名山。" * 4
MOST_WAVES = 200
NO_SPAN = TimeSpan(0.0, 1.0)
PARTS_OF_AGGREGATE = (
    (kept, "commit_in_form", "join, write"),
    (outputs, "check_rows", "check rows"),
    (outputs, "write_texts", "jsonl, txt"),
    (task, "evaluate", "evaluate"),
    (task, "write_quality", "quality"),
    (task, "write_report", "report"),
    (Run, "succeed", "hash results"),
)


@dataclass
class Meter:
    """What the parts of a simulation of `rows` rows took."""

    rows: int
    parts: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure the block, and print its figures."""
        before, started = time.process_time(), time.monotonic()
        with watching_memory() as peak:
            yield
        cpu, seconds = time.process_time() - before, time.monotonic() - started
        self.note(name, cpu, seconds, peak[0])

    def measured(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function; each call of it is measured."""

        def call(*given: object) -> Any:  # noqa: ANN401 whatever it returns
            with self.part(name):
                return function(*given)

        return call

    def note(self, name: str, cpu: float, seconds: float, peak: float) -> None:
        """Note a part, and print it; the peak is in MB."""
        per_row = cpu / self.rows * 1e6
        self.parts.append({"part": name, "cpu_seconds": cpu, "seconds": seconds, "peak_mb": peak})
        figures = f"{cpu:9.1f} CPU s {per_row:8.2f} µs/row {seconds:8.1f} s {peak:8.0f} MB"
        print(f"{name:28} {figures}", flush=True)  # noqa: T201 the result of the script


@contextmanager
def watching_memory() -> Iterator[list[float]]:
    """Yield a list with the largest memory of this process so far, without files, in MB."""
    peak, ended = [anonymous_memory()], Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], anonymous_memory())

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def anonymous_memory() -> float:
    """Return the memory of this process that is of no file, in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (size,) = (int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line)
    return size / 1000


class FakePool(ClaimingPool):
    """Real claims and a real journal around answers that are made up."""

    def __init__(self, run: Run, make: Callable[[ShardJob], Manifest]) -> None:
        super().__init__(run, False, None)
        self.make = make
        self.making = 0.0  # CPU seconds

    def _make(self, job: ShardJob) -> Manifest:
        started = time.process_time()
        manifest = self.make(job)
        self.making += time.process_time() - started
        self._note_made(job, "gpu:0", 1.0, manifest)
        return manifest


def plan_run(folder: Path, single_file: bool) -> Plan:
    """Return the plan of a run with a fake export, which is there."""
    passages = write_passages(folder / "rows.jsonl", [{"context": "a", "answer": "a"}])
    overrides = [
        f"store.path={folder / 'store'}",
        f"dataset.predict_file={passages}",
        "export.engine=fake",
        f"shards.rows_per_shard={ROWS_PER_SHARD}",
        "dataset.keep_columns=none",
        f"aggregate.single_file={str(single_file).lower()}",
    ]
    plan = make_plan(load_settings(ROOT / "configs/demo.yaml", overrides), ROOT / "data/checkpoint")
    export = Path(plan.export.folder)
    export.mkdir(parents=True)
    export_fake(plan.model_folder, plan.settings.decode, export)
    return plan


def write_dataset(plan: Plan, rows_in: int, without_rows: bool) -> Manifest:
    """Write the dataset of an input of which every `REJECTED_EVERY`th row is rejected."""
    rejected = np.arange(REJECTED_EVERY - 1, rows_in, REJECTED_EVERY)
    rows, folder = rows_in - len(rejected), plan.dataset.folder
    starts = range(0, rows, ROWS_PER_PART)
    counts = [min(ROWS_PER_PART, rows - start) for start in starts]
    names = [f"part-{number:05d}-of-{len(starts):05d}.parquet" for number in range(len(starts))]
    if without_rows:
        files = [FileEntry(name=name, size=0, sha256="0" * 64) for name in names]
    else:
        pieces = zip(names, starts, counts, strict=True)
        files = [
            commit_table(folder / name, DATASET, [_make_rows(start, count)])
            for name, start, count in pieces
        ]
    why = {"line": rejected + 1, "id": _texts("", rejected)}
    given = {"row": rejected, **why, **dict.fromkeys(("reason", "detail"), _texts("x", rejected))}
    given["reason"] = pa.repeat("not_json", len(rejected))
    rejects = pa.RecordBatch.from_pydict(given, REJECTS)
    files.append(commit_table(folder / REJECTS_FILE, REJECTS, [rejects]))
    details = DatasetDetails(
        rows_in=rows_in,
        rows=rows,
        rejects=len(rejected),
        tokens=rows * TOKENS,
        longest=TOKENS,
        part_rows=counts,
        reject_reasons={"not_json": len(rejected)},
        cut={},
        unknown_tokens=0,
        unknown_rows=0,
    )
    planned = plan.dataset
    return _commit(
        planned.manifest_path, "dataset", planned.decided_by, planned.fingerprint, files, details
    )


def make_shard(job: ShardJob) -> Manifest:
    """Write a shard with a question for each row, which differ in their digits."""
    return _commit_shard(job, [_answer(job)])


def make_empty_shard(job: ShardJob) -> Manifest:
    """Write the files of a shard, without its rows."""
    return _commit_shard(job, [])


def _answer(job: ShardJob) -> pa.RecordBatch:
    parts = pa.concat_tables(job.read_rows("row", "id")).combine_chunks()
    row = parts["row"].to_numpy()
    none = np.zeros(len(row) + 1, np.int32)
    tokens = np.repeat((row % 1000).astype(np.int32), ANSWER_TOKENS)
    alternatives = SHARD.field("alternatives").type
    columns = {
        "row": parts["row"].chunk(0),
        "id": parts["id"].chunk(0),
        "question": _texts("山东省的第多少座名山是", row),
        "score": pa.array(-(row % 97) / 97, pa.float32()),
        "output_ids": _lists(tokens, ANSWER_TOKENS),
        "alternatives": pa.ListArray.from_arrays(none, pa.array([], alternatives.value_type)),
    }
    return pa.RecordBatch.from_pydict(columns, SHARD)


def _commit_shard(job: ShardJob, batches: Sequence[pa.RecordBatch]) -> Manifest:
    entry = commit_table(job.stage.folder / job.shard.file_name, SHARD, batches)
    count = job.shard.rows
    details = ShardDetails(
        rows=count,
        batches=count // 64,
        input_tokens=count * TOKENS,
        padded_tokens=count * TOKENS,
        output_tokens=count * ANSWER_TOKENS,
        rejects=[],
    )
    stage = job.stage
    return _commit(
        job.manifest_path, "shard", stage.decided_by, stage.fingerprint, [entry], details
    )


def _commit(
    place: PurePath,
    kind: str,
    decided_by: dict[str, Any],
    fingerprint: str,
    files: Sequence[FileEntry],
    details: Details,
) -> Manifest:
    manifest = Manifest(
        kind=kind,
        fingerprint=fingerprint,
        decided_by=decided_by,
        files=tuple(files),
        details=details.as_dict(),
    )
    commit_manifest(place, manifest)
    return manifest


def _make_rows(start: int, count: int) -> pa.RecordBatch:
    at = np.arange(start, start + count)
    row = at + at // (REJECTED_EVERY - 1)
    tokens = np.repeat((row % 4001).astype(np.int32), TOKENS)
    tokens[::TOKENS] = row  # so that no row equals another
    columns = {
        "row": row,
        "id": _texts("id-", row),
        "context": pa.repeat(PASSAGE, count),
        "answer": pa.repeat("山东省", count),
        "reference": pa.nulls(count, pa.string()),
        "input_ids": _lists(tokens, TOKENS),
        "token_type_ids": _lists(np.zeros_like(tokens), TOKENS),
        "seq_len": np.full(count, TOKENS, np.int32),
        "cut": pa.nulls(count, pa.string()),
        "unknown_tokens": np.zeros(count, np.int32),
    }
    return pa.RecordBatch.from_pydict(columns, DATASET)


def _texts(before: str, numbers: np.ndarray[Any, Any]) -> pa.Array:
    return pc.binary_join_element_wise(before, pa.array(numbers).cast(pa.string()), "")


def _lists(values: np.ndarray[Any, Any], size: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(np.arange(0, len(values) + 1, size, dtype=np.int32), values)


def simulate(folder: Path, rows: int, *, single_file: bool, without_rows: bool) -> Meter:
    """Run everything once, and the look-up of a run that finds all shards."""
    plan, meter = plan_run(folder, single_file), Meter(rows)
    with meter.part("dataset (made up)"):
        dataset = write_dataset(plan, rows, without_rows)
    run = Run.start(plan, config_file="/jobs/scale.yaml")
    with run.claims.beating():
        with meter.part("plan"):
            jobs = plan_jobs(plan, dataset)
            waves = plan_waves(jobs, MOST_WAVES)
        with meter.part("look up, none is there"):
            assert all(found.manifest is None for found in look_up_all(jobs))
        pool = FakePool(run, make_empty_shard if without_rows else make_shard)
        with meter.part("shards, claims, journal"):
            for wave in waves:
                wave.make(partial(pool.generate, wait=False))
        meter.note("  of it, shards (made up)", pool.making, 0.0, anonymous_memory())
        outcomes = [one for wave in waves for one in wave.outcomes(None) if one is not None]
        with meter.part("look up, all are there"):
            again = [found.manifest for found in look_up_all(jobs)]
        assert again == [one.manifest for one in outcomes]
        if without_rows:
            with meter.part("check rows"):
                assert has_each_once(_number_rows(rows), rows)
            return meter
        with meter.part("known rows"):
            find_known_rows(plan, dataset)
        aggregate_rows(meter, plan, run, dataset, outcomes)
    return meter


def _number_rows(rows: int) -> list[Iterator[np.ndarray[Any, Any]]]:
    """Return the numbers of the rows as predictions and rejects have them, in batches."""
    every = (np.arange(at, min(at + ROWS_PER_SHARD, rows)) for at in range(0, rows, ROWS_PER_SHARD))
    both = itertools.tee(every)
    is_rejected = REJECTED_EVERY - 1
    return [
        (some[some % REJECTED_EVERY != is_rejected] for some in both[0]),
        (some[some % REJECTED_EVERY == is_rejected] for some in both[1]),
    ]


def aggregate_rows(
    meter: Meter, plan: Plan, run: Run, dataset: Manifest, outcomes: list[ShardOutcome]
) -> None:
    """Aggregate, and measure the parts of it."""
    stages = [StageResult(name, Made(dataset, Found(None)), NO_SPAN) for name in ("export", "load")]
    with ExitStack() as stack:
        for module, name, told in PARTS_OF_AGGREGATE:
            real = getattr(module, name)
            stack.enter_context(mock.patch.object(module, name, meter.measured(told, real)))
        metrics = task.aggregate(plan, run, *stages, Prediction(outcomes, NO_SPAN))
    assert metrics["predictions"] + metrics["rejects"] == metrics["rows_in"]


def main() -> None:
    """Run the simulation, in a folder that is deleted at the end."""
    parser = argparse.ArgumentParser(description="Simulate a run of many rows.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="of temporary files; 20 GB for 10^8 rows")
    parser.add_argument("--single-file", action="store_true")
    parser.add_argument("--without-rows", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        forms = {"single_file": given.single_file, "without_rows": given.without_rows}
        meter = simulate(Path(folder), given.rows, **forms)
    if given.json:
        given.json.write_text(json.dumps({"rows": meter.rows, "parts": meter.parts}, indent=1))


if __name__ == "__main__":
    main()
