"""What a run consists of: the checkpoint of each stage, its folder, and what decides its content.

Making a plan reads and hashes the model and the passages; it imports neither Paddle nor Prefect
and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tasks.config.settings import Settings
from tasks.plan.fingerprints import decide_dataset, decide_export, decide_predictions
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tasks.store.manifest import MANIFEST, Found, find_checkpoint, fingerprint


@dataclass(frozen=True)
class Planned:
    """One checkpoint to be: where it goes, its fingerprint, and what that is made of."""

    folder: PurePath
    fingerprint: str
    decided_by: dict[str, Any]

    @property
    def manifest_path(self) -> PurePath:
        """Where its manifest is, for checkpoints that are a whole folder."""
        return self.folder / MANIFEST

    @property
    def is_there(self) -> bool:
        """Whether the store has it, if it is not damaged."""
        return storage_of(self.manifest_path).is_file(self.manifest_path)

    def find(self) -> Found:
        """Look it up in the store and verify it."""
        return find_checkpoint(self.manifest_path, self.fingerprint)


@dataclass(frozen=True)
class Plan:
    """The checkpoints of a run."""

    settings: Settings
    store: Store
    model_folder: Path
    export: Planned
    dataset: Planned
    predictions: Planned

    @property
    def engine(self) -> str:
        """The engine that exports the model."""
        return str(self.export.decided_by["engine"])

    @property
    def decided_by(self) -> dict[str, dict[str, Any]]:
        """What decides each of the three checkpoints."""
        planned = {"export": self.export, "dataset": self.dataset, "predictions": self.predictions}
        return {name: one.decided_by for name, one in planned.items()}


def open_store(settings: Settings) -> Store:
    """Give the store that the settings name."""
    return Store(Path(settings.store.path).expanduser())


def make_plan(settings: Settings, model_folder: Path) -> Plan:
    """Compute the fingerprints of every stage from the settings, the model and the passages."""
    store = open_store(settings)
    export = _planned(decide_export(settings, model_folder), store.export_folder)
    dataset = _planned(decide_dataset(settings, model_folder), store.dataset_folder)
    decided = decide_predictions(settings, export.fingerprint, dataset.fingerprint)
    predictions = _planned(decided, store.predictions_folder)
    return Plan(settings, store, model_folder, export, dataset, predictions)


def _planned(decided_by: dict[str, Any], folder_of: Callable[[str], PurePath]) -> Planned:
    digest = fingerprint(decided_by)
    return Planned(folder_of(digest), digest, decided_by)
