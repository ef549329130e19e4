"""How questions ended, as their tokens show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.engine.contract import read_contract
from tasks.plan.plan import Plan
from tasks.store.files import storage_of
from tasks.store.tables import ENDINGS


def find_eos(plan: Plan) -> int:
    """Return the token that ends a question of the exported model.

    Raises:
        StoreCorruptionError: the export cannot be read.
    """
    folder = plan.export.folder
    return read_contract(storage_of(folder).fetch(folder)).special_tokens.eos


def add_endings(shard: pa.Table, eos: int) -> pa.Table:
    """Return rows of a shard with the columns `ENDINGS`, computed from `output_ids`."""
    chunks = [_read_endings(chunk, eos) for chunk in shard["output_ids"].chunks]
    for number, field in enumerate(ENDINGS):
        arrays = [pa.array(chunk[number], field.type) for chunk in chunks]
        shard = shard.append_column(field, pa.chunked_array(arrays, field.type))
    return shard


def _read_endings(lists: pa.ListArray, eos: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return whether each list ends with `eos`, and its length."""
    offsets, values = lists.offsets.to_numpy(), lists.values.to_numpy()
    counts = np.diff(offsets)
    is_finished = counts > 0
    is_finished[is_finished] = values[offsets[1:][is_finished] - 1] == eos
    return is_finished, counts
