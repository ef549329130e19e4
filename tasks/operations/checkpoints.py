"""The checkpoints of a run or of a plan: where they are, and which shards there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from tasks.errors import StoreCorruptionError
from tasks.load.parts import DatasetDetails
from tasks.plan.plan import Plan
from tasks.predict.shards import Shard, plan_shards
from tasks.runs.find import read_record, store_of
from tasks.runs.record import RunRecord
from tasks.store.claims import Owner, find_owner
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Found, Manifest, find_checkpoint, read_manifest


@dataclass(frozen=True)
class Checkpoints:
    """The fingerprints of the checkpoints; `run_id` names the run in messages."""

    store: Store
    export: str
    dataset: str
    predictions: str
    rows_per_shard: int | None
    run_id: str | None = None

    @classmethod
    def of_plan(cls, plan: Plan) -> Checkpoints:
        """Return the checkpoints that a plan makes."""
        return cls(
            store=plan.store,
            export=plan.export.fingerprint,
            dataset=plan.dataset.fingerprint,
            predictions=plan.predictions.fingerprint,
            rows_per_shard=plan.settings.shards.rows_per_shard,
        )

    @classmethod
    def of_run(cls, folder: PurePath, record: RunRecord | None = None) -> Checkpoints:
        """Return the checkpoints of a run; `record` is its run.json.

        Raises:
            StoreCorruptionError: the run.json cannot be read.
        """
        record = record or read_record(folder)
        rows = record.rows_per_shard or record.config.get("shards", {}).get("rows_per_shard")
        return cls(store_of(folder), **record.fingerprints, rows_per_shard=rows, run_id=folder.name)

    @property
    def export_manifest(self) -> PurePath:
        """The path of the export's manifest."""
        return self.store.export_folder(self.export) / MANIFEST

    @property
    def dataset_manifest(self) -> PurePath:
        """The path of the dataset's manifest."""
        return self.store.dataset_folder(self.dataset) / MANIFEST

    @property
    def shards_folder(self) -> PurePath:
        """The folder of the shards."""
        return self.store.predictions_folder(self.predictions)

    def find_export(self) -> Found:
        """Look up the export in the store and verify it."""
        return find_checkpoint(self.export_manifest, self.export)

    def find_dataset(self) -> Found:
        """Look up the dataset in the store and verify it."""
        return find_checkpoint(self.dataset_manifest, self.dataset)

    def plan_shards(self, dataset: Manifest) -> list[Shard]:
        """Return the planned shards over the rows of the dataset.

        Raises:
            StoreCorruptionError: the run.json is too old to tell them.
        """
        if self.rows_per_shard is None:
            raise StoreCorruptionError(
                f"run.json of run {self.run_id} does not contain `rows_per_shard`; start a new run "
                "with `wenti run` of its config"
            )
        return plan_shards(DatasetDetails.of(dataset).rows, self.rows_per_shard)

    def count_shards(self) -> int | None:
        """Return the number of shards; None if the store does not tell, because nothing is loaded.

        Only the manifest of the dataset is read.
        """
        try:
            dataset = read_manifest(self.dataset_manifest, self.dataset)
            return None if dataset is None else len(self.plan_shards(dataset))
        except (OSError, StoreCorruptionError):  # found out by the run, which makes it again
            return None

    def find_owner(self, fingerprint: str, shard: Shard | None = None) -> Owner | None:
        """Return who is making a checkpoint, or a shard of it; None if nobody is."""
        name = fingerprint if shard is None else shard.claim(fingerprint)
        return find_owner(self.store.claims_folder / name)
