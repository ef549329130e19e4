"""Where everything lies in a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Store:
    """The folders of a store; making the object touches nothing."""

    root: PurePath

    def export_folder(self, export_fingerprint: str) -> PurePath:
        """Folder of an exported model."""
        return self.root / "exports" / export_fingerprint

    def dataset_folder(self, dataset_fingerprint: str) -> PurePath:
        """Folder of the tokenised parts."""
        return self.root / "datasets" / dataset_fingerprint

    def predictions_folder(self, predictions_fingerprint: str) -> PurePath:
        """Folder of the shards."""
        return self.root / "predictions" / predictions_fingerprint

    def model_folder(self, model_fingerprint: str) -> PurePath:
        """Folder of a model that was downloaded by name."""
        return self.root / "models" / model_fingerprint

    @property
    def claims_folder(self) -> PurePath:
        """Folder of the claims of the runs that go on now."""
        return self.root / "claims"

    def run_folder(self, run_id: str) -> PurePath:
        """Folder of what a run leaves for its reader."""
        return self.root / "runs" / run_id
