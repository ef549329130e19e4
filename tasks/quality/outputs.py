"""What the tokens of the questions show: whether they ended, and what the vocabulary lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.engine.contract import SpecialTokens


@dataclass(frozen=True)
class Outputs:
    """What is known of the tokens of each question.

    Attributes:
        is_finished: whether the token that ends a question is there, bool [rows].
        has_unknown: whether [UNK] is among them; it is left out of the text, bool [rows].
        token_count: their number, with the one that ends the question, int64 [rows].
    """

    is_finished: NDArray[np.bool_]
    has_unknown: NDArray[np.bool_]
    token_count: NDArray[np.int64]

    @classmethod
    def of(cls, output_ids: pa.ListArray, special: SpecialTokens) -> Outputs:
        """Return what the column `output_ids` of predictions.parquet shows."""
        offsets = output_ids.offsets.to_numpy()
        tokens = output_ids.values.to_numpy()[: offsets[-1]]
        counts = np.diff(offsets).astype(np.int64)
        is_finished = counts > 0
        is_finished[is_finished] = tokens[offsets[1:][is_finished] - 1] == special.eos
        unknown = np.concatenate([[0], np.cumsum(tokens == special.unk)])
        return cls(is_finished, unknown[offsets[1:]] > unknown[offsets[:-1]], counts)
