"""A dataset and its shards as the stages before aggregate write them, without an engine."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.aggregate.outputs import write_predictions
from tasks.aggregate.partial import Missing
from tasks.load.parts import DatasetDetails
from tasks.plan.plan import Plan
from tasks.plan.stage_result import TimeSpan
from tasks.predict.jobs import Prediction, ShardJob, ShardOutcome, plan_jobs
from tasks.predict.questions import Question
from tasks.predict.shards import RejectRow, ShardDetails
from tasks.predict.workers.shard_state import make_answer
from tasks.store.manifest import Manifest, commit_manifest
from tasks.store.tables import DATASET, REJECTS, SHARD, commit_table, make_batches
from tests.support.planned_jobs import plan_job, write_job

ROWS_IN = 20
UNUSABLE = (3, 10)  # rows that the load stage rejected
EOS = 12  # the only token of row 12, whose question is therefore finished
GUILTY = 7  # the row that makes the engine fail
ACCEPTED = [row for row in range(ROWS_IN) if row not in UNUSABLE]
ROWS_PER_SHARD = 5
SHARDS = [ACCEPTED[at : at + ROWS_PER_SHARD] for at in range(0, len(ACCEPTED), ROWS_PER_SHARD)]


def plan_small_shards(tmp_path: Path, *more: str) -> Plan:
    """Return the plan of a job whose shards have five rows."""
    overrides = f"store.path={tmp_path / 'store'}", f"shards.rows_per_shard={ROWS_PER_SHARD}"
    return plan_job(write_job(tmp_path), *overrides, "dataset.keep_columns=none", *more)


def write_dataset(plan: Plan) -> Manifest:
    """Write a dataset in two parts, whose boundaries are not those of shards."""
    folder, parts = plan.dataset.folder, (ACCEPTED[:12], ACCEPTED[12:])
    files = [
        commit_table(
            folder / f"part-{number:05d}-of-00002.parquet", DATASET, [_dataset_batch(rows)]
        )
        for number, rows in enumerate(parts)
    ]
    rejects = [
        {"row": row, "line": row + 1, "id": None, "reason": "not_json", "detail": "no object"}
        for row in UNUSABLE
    ]
    batch = pa.RecordBatch.from_pylist(rejects, schema=REJECTS)
    files.append(commit_table(folder / "rejects.parquet", REJECTS, [batch]))
    details = DatasetDetails(
        rows_in=ROWS_IN,
        rows=len(ACCEPTED),
        rejects=len(UNUSABLE),
        tokens=len(ACCEPTED),
        longest=1,
        part_rows=[len(rows) for rows in parts],
        reject_reasons={"not_json": len(UNUSABLE)},
        cut={},
        unknown_tokens=0,
        unknown_rows=0,
    )
    manifest = Manifest(
        kind="dataset",
        fingerprint=plan.dataset.fingerprint,
        decided_by=plan.dataset.decided_by,
        files=tuple(files),
        details=details.as_dict(),
    )
    commit_manifest(plan.dataset.manifest_path, manifest)
    return manifest


def _dataset_batch(rows: list[int]) -> pa.RecordBatch:
    texts = {"context": "c", "answer": "a", "reference": "r", "unknown_tokens": 0}
    tokens = {"input_ids": [1], "token_type_ids": [0], "seq_len": 1}
    records = [{"row": row, "id": f"id-{row}", **texts, **tokens} for row in rows]
    return pa.RecordBatch.from_pylist(records, schema=DATASET)


def predict(
    plan: Plan, dataset: Manifest, failed: tuple[int, ...] = (), left_out: tuple[int, ...] = ()
) -> Prediction:
    """Write the shards of a dataset, but not those that failed; one row makes the engine fail."""
    outcomes = [_make_shard(job, failed) for job in plan_jobs(plan, dataset)]
    for shard in left_out:
        outcomes[shard] = ShardOutcome(outcomes[shard].job, None, is_left_out=True)
    return Prediction(outcomes, TimeSpan(0.0, 1.0))


def _make_shard(job: ShardJob, failed: tuple[int, ...]) -> ShardOutcome:
    if job.shard.index in failed:
        return ShardOutcome(job, None, error=f"the worker of {job.shard.index} died")
    rows = job.read_ids()
    kept = [row for row in rows if row["row"] != GUILTY]
    records = [
        row | make_answer([Question(f"q{row['row']}", 0.5, [row["row"]], True)]) for row in kept
    ]
    path = job.stage.folder / job.shard.file_name
    entry = commit_table(path, SHARD, make_batches(records, SHARD))
    why = {"reason": "engine_crash", "detail": "it crashed"}
    reject = RejectRow(row=GUILTY, line=None, id=f"id-{GUILTY}", **why)
    rejects = [reject] if len(kept) < len(rows) else []
    details = ShardDetails(
        rows=len(kept),
        batches=1,
        input_tokens=len(kept),
        padded_tokens=len(kept),
        output_tokens=len(kept),
        rejects=rejects,
    )
    manifest = Manifest(
        kind="shard",
        fingerprint=job.stage.fingerprint,
        decided_by=job.stage.decided_by,
        files=(entry,),
        details=details.as_dict(),
    )
    commit_manifest(job.manifest_path, manifest)
    return ShardOutcome(job, manifest)


def write_run(plan: Plan, dataset: Manifest, folder: Path, failed: tuple[int, ...] = ()) -> Missing:
    """Write the shards of a dataset and the results; return what is missing of them."""
    prediction = predict(plan, dataset, failed)
    missing = Missing(tuple(prediction.missing))
    write_predictions(plan, dataset, prediction, missing, folder, EOS)
    return missing
