"""The jobs of a predict stage, and what the store already has of them."""

from __future__ import annotations

from tasks.generation import ShardJob
from tasks.plan import Plan
from tasks.shards import plan_shards
from tasks.store import Found, Manifest, find_checkpoint


def plan_jobs(plan: Plan, dataset: Manifest) -> list[ShardJob]:
    """Give the jobs of a predict stage over the rows of a dataset checkpoint."""
    settings = plan.settings
    return [
        ShardJob(
            shard=shard,
            dataset_folder=plan.dataset.folder,
            dataset=dataset,
            folder=plan.predictions.folder,
            fingerprint=plan.predictions.fingerprint,
            decided_by=plan.predictions.decided_by,
            batch_size=settings.predict.batch_size,
            max_tokens_per_batch=settings.predict.max_tokens_per_batch,
        )
        for shard in plan_shards(dataset.details["rows"], settings.shards.rows_per_shard)
    ]


def look_up(job: ShardJob) -> Found:
    """Read a shard of the store back; a damaged one counts as missing, with the reason."""
    return find_checkpoint(job.manifest_path, job.fingerprint)
