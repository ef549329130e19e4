"""How much a text repeats itself: a search that runs into a loop writes the same words again.

Source of the formula: `seq-rep-n` of Welleck et al.: Neural text generation with unlikelihood
training, ICLR 2020, with n = 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.quality.texts.hashes import hash_runs, shorten
from tasks.quality.texts.rows import Rows, unique_in_rows

WORDS = 3


def measure_repeats(texts: Rows) -> NDArray[np.float64]:
    """Return the share of runs of `WORDS` words that the text has more than once, float64 [rows].

    It is 1 - different runs / all runs: 0 if no run occurs twice; NaN for a text of fewer words.
    """
    runs = hash_runs(texts, WORDS)
    runs = Rows(shorten(runs.values), runs.offsets)
    with np.errstate(invalid="ignore"):
        return 1 - unique_in_rows(runs).lengths / runs.lengths
