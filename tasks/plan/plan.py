"""What a run consists of: the checkpoint of each stage, its folder, and what decides its content.

Making a plan reads and hashes the model and the passages; it imports neither Paddle nor Prefect
and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Self

from tasks.addresses import ObjectPlace
from tasks.config.settings import Settings
from tasks.engine.model_files import ModelFiles
from tasks.plan.fingerprints import (
    decide_columns,
    decide_dataset,
    decide_export,
    decide_predictions,
)
from tasks.plan.given_export import locate_given_export, read_given_export
from tasks.plan.nodes import plan_for_nodes
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Found, find_checkpoint, fingerprint
from tasks.store.objects.connection import connect


@dataclass(frozen=True)
class PlannedFolder:
    """A folder that a stage will fill, its fingerprint, and what that is computed from."""

    folder: PurePath
    fingerprint: str
    decided_by: dict[str, Any]

    @classmethod
    def of(cls, decided_by: dict[str, Any], folder_of: Callable[[str], PurePath]) -> Self:
        """Return the folder planned for `decided_by`; `folder_of` maps a fingerprint to a path."""
        digest = fingerprint(decided_by)
        return cls(folder_of(digest), digest, decided_by)


@dataclass(frozen=True)
class PlannedCheckpoint(PlannedFolder):
    """A folder that is one checkpoint, with one manifest."""

    @property
    def manifest_path(self) -> PurePath:
        """The path of the manifest."""
        return self.folder / MANIFEST

    @property
    def is_there(self) -> bool:
        """Whether the store has the checkpoint, damaged or not."""
        return storage_of(self.manifest_path).is_file(self.manifest_path)

    def find(self) -> Found:
        """Look up the checkpoint in the store and verify it."""
        return find_checkpoint(self.manifest_path, self.fingerprint)


@dataclass(frozen=True)
class Plan:
    """What a run makes. Each shard in `predictions` is a checkpoint with its own manifest.

    `given_export` is the folder of an export that is used instead of exporting the model; `columns`
    are the kept columns of the input, None if none are kept.
    """

    settings: Settings
    store: Store
    model_folder: Path
    export: PlannedCheckpoint
    dataset: PlannedCheckpoint
    predictions: PlannedFolder
    given_export: Path | None = None
    columns: PlannedCheckpoint | None = None

    @property
    def engine(self) -> str:
        """The engine that exports the model."""
        return str(self.export.decided_by["engine"])

    @property
    def model_files(self) -> ModelFiles:
        """The files of the model as they were when they were hashed for the export."""
        return ModelFiles(self.model_folder.absolute(), self.export.decided_by["model"])

    @property
    def tokenizer_files(self) -> ModelFiles:
        """The files of the tokenizer as they were when they were hashed for the dataset."""
        return ModelFiles(self.model_folder.absolute(), self.dataset.decided_by["tokenizer"])

    @property
    def decided_by(self) -> dict[str, dict[str, Any]]:
        """What decides the content of `export`, `dataset` and `predictions`, by these names."""
        return {
            "export": self.export.decided_by,
            "dataset": self.dataset.decided_by,
            "predictions": self.predictions.decided_by,
        }


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name; from then on, the servers of addresses are known."""
    given = settings.store
    for place in list_addresses(settings):
        connect(place, given.endpoint, given.cache)
    return Store(given.folder)


def list_addresses(settings: Settings) -> list[ObjectPlace]:
    """Return the addresses in object stores that the settings name."""
    asked, passages = settings.aggregate, settings.dataset.file
    files = passages if isinstance(passages, tuple) else (passages,)
    places = (settings.store.folder, *files, asked.output, asked.data_set)
    return [place for place in places if isinstance(place, ObjectPlace)]


def make_plan(settings: Settings, model_folder: Path) -> Plan:
    """Compute the fingerprints of every stage from the settings, the model and the passages.

    Raises:
        ClusterError: the nodes of the cluster cannot be asked for their Paddle.
        InputError: the passages cannot be identified.
        OSError: a file of the model cannot be read.
        StoreCorruptionError: the given export is damaged.
    """
    plan_for_nodes(settings)
    store = open_store(settings)
    given = locate_given_export(settings)
    decided_export = (
        decide_export(settings, model_folder)
        if given is None
        else read_given_export(given).decided_by
    )
    export = PlannedCheckpoint.of(decided_export, store.export_folder)
    dataset = PlannedCheckpoint.of(decide_dataset(settings, model_folder), store.dataset_folder)
    decided = decide_predictions(settings, export.fingerprint, dataset.fingerprint)
    predictions = PlannedFolder.of(decided, store.predictions_folder)
    columns = None
    if settings.dataset.keep_columns != "none":
        of_input = decide_columns(settings, dataset.fingerprint)
        columns = PlannedCheckpoint.of(of_input, store.columns_folder)
    return Plan(settings, store, model_folder, export, dataset, predictions, given, columns)
