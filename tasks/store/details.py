"""What a manifest says beside its files: a model for each kind of checkpoint."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import StoreCorruptionError
from tasks.store.manifest import Manifest


class Details(BaseModel):
    """The details of one kind of manifest, defined beside the code that makes the checkpoint.

    Fingerprints do not depend on them, so manifests of older versions must still be readable.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return the details of a manifest of this kind.

        Raises:
            StoreCorruptionError: the manifest has other details.
        """
        try:
            return cls.model_validate(manifest.details)
        except ValidationError as error:
            raise StoreCorruptionError(
                f"the manifest of {manifest.kind} {manifest.fingerprint} has other details than "
                f"this version of Wenti reads ({on_one_line(error)}); delete its folder from the "
                "store and run again"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Return the details as JSON types for the manifest, without keys that were not given."""
        return self.model_dump(mode="json", exclude_unset=True)


def on_one_line(error: ValidationError) -> str:
    """Return the faults that pydantic found, each with the keys that lead to it."""
    faults = error.errors(include_url=False)
    return "; ".join(": ".join((*map(str, one["loc"]), one["msg"])) for one in faults)
