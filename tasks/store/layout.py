"""The folders of a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

LATEST = "latest"
"""Name of the link, among the runs, to the complete run that ended last."""

NEWEST = "newest"
"""Name of the link, among the runs, to the run that started last."""

FOLDERS = ("runs", "exports", "datasets", "columns", "predictions", "models", "claims")
"""Names of the folders in a store."""

ALWAYS_WRITTEN = ("runs", "claims")
"""Those in which every run makes something, whatever it reuses."""


@dataclass(frozen=True)
class Store:
    """Names the folders of a store; nothing is created or read."""

    root: PurePath

    def export_folder(self, export_fingerprint: str) -> PurePath:
        """Return the folder of an exported model."""
        return self.root / "exports" / export_fingerprint

    def dataset_folder(self, dataset_fingerprint: str) -> PurePath:
        """Return the folder of a tokenized dataset."""
        return self.root / "datasets" / dataset_fingerprint

    def columns_folder(self, columns_fingerprint: str) -> PurePath:
        """Return the folder of the kept columns of the input."""
        return self.root / "columns" / columns_fingerprint

    def predictions_folder(self, predictions_fingerprint: str) -> PurePath:
        """Return the folder of the shards."""
        return self.root / "predictions" / predictions_fingerprint

    def model_folder(self, model_fingerprint: str) -> PurePath:
        """Return the folder of a model that was downloaded by name."""
        return self.root / "models" / model_fingerprint

    @property
    def claims_folder(self) -> PurePath:
        """Folder of the claims of running runs."""
        return self.root / "claims"

    def run_folder(self, run_id: str) -> PurePath:
        """Return the folder of a run's results."""
        return self.root / "runs" / run_id
