"""The random numbers of sampling: they depend on the row and on nothing else."""

from __future__ import annotations

import numpy as np

from tasks.config.settings import DecodeSettings
from tasks.engine.batch import Float32, Int64

SIGNIFICANT_BITS = 24
"""Of a float32: so many random bits make a number of [0, 1) that is exact and never rounds to 1."""


def draw_uniforms(numbers: Int64, decode: DecodeSettings) -> Float32:
    """Return the numbers of [0, 1) by which the tokens of some rows are drawn.

    Each row has a stream of its own, keyed by `decode.seed` and its number: whatever shard, batch
    or place it is in, it gets the same. The raw bits of Philox-4x64-10 (Salmon et al. 2011,
    "Parallel random numbers: as easy as 1, 2, 3") are the same in every version of NumPy.

    Returns:
        float32 [batch, num_return_sequences, max_dec_len].
    """
    shape = decode.num_return_sequences, decode.max_dec_len
    raw = [
        np.random.Philox(key=np.array([decode.seed, number], np.uint64)).random_raw(shape)
        for number in numbers.tolist()
    ]
    bits = np.stack(raw) >> np.uint64(64 - SIGNIFICANT_BITS)
    uniforms: Float32 = bits.astype(np.float32) / np.float32(2**SIGNIFICANT_BITS)
    return uniforms
