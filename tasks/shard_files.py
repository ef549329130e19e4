"""Finding a shard, and reading it back beside the rows of the dataset that it answers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import StoreCorruptionError
from tasks.shards import Shard
from tasks.store import Found, Manifest, find_checkpoint
from tasks.tables import SHARD, read_batches


def find_shard(folder: Path, shard: Shard, fingerprint: str) -> Found:
    """Look a shard up as `find_checkpoint` does; one that is another shard's is damaged."""
    found = find_checkpoint(folder / shard.manifest_name, fingerprint)
    # All shards have one fingerprint: what tells them apart are the names of their files.
    if found.manifest is not None and not found.manifest.files[0].name.startswith(shard.name):
        return Found(None, f"{folder / shard.manifest_name} belongs to another shard")
    return found


def read_shard(folder: Path, manifest: Manifest, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Give a shard's table, and those of `rows` that it answers, in the same order.

    `rows` are the dataset's rows of the shard; the manifest names those that it rejects.

    Raises:
        StoreCorruptionError: it cannot be read, or holds other rows than these.
    """
    path = folder / manifest.files[0].name
    shard = pa.Table.from_batches(read_batches(path), schema=SHARD)
    rejected = pa.array([reject["row"] for reject in manifest.details["rejects"]], pa.int64())
    answered = rows.filter(pc.invert(pc.is_in(rows["row"], value_set=rejected)))
    for name in ("row", "id"):
        if not shard[name].equals(answered[name]):
            raise StoreCorruptionError(f"{path} holds other rows than the dataset ({name})")
    return shard, answered
