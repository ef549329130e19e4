"""Whether an optimized export writes the same questions as the plain one; else it is rejected.

Half precision and TensorRT round differently. Whether that matters depends on the model and the
GPU, so both exports are run on the same rows on that GPU, and their outputs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from tasks.config.settings import PredictSettings
from tasks.engine.batch import Generated, Row, pad_rows, rows_that_fit
from tasks.engine.contract import read_contract
from tasks.engine.gpu.driver import device_names
from tasks.engine.inference.session import Session
from tasks.errors import ExportError

LEAST_SHARE = 0.99
"""The share of rows that must get the same best question, token for token."""

LARGEST_DIFFERENCE = 0.1
"""The allowed difference between scores of the same question; relative beyond -1 and 1."""

REMEDY = (
    "set `export.use_fp16_decoding: false`, `predict.precision: fp32` and "
    "`predict.use_tensorrt: false`"
)


@dataclass(frozen=True)
class Reproduction:
    """How well an export reproduces another one.

    Attributes:
        rows: the number of rows compared.
        identical: the number of rows with the same best question, token for token.
        difference: the largest difference between scores of the same question, measured as
            `LARGEST_DIFFERENCE`; 0 if no question is the same.
    """

    rows: int
    identical: int
    difference: float

    @property
    def share(self) -> float:
        """The share of identical rows, 0 to 1."""
        return self.identical / self.rows

    def __str__(self) -> str:
        """Return the figures in words."""
        return (
            f"{self.identical} of {self.rows} questions are the same as in float32, their scores "
            f"differ by at most {self.difference:.2g}"
        )

    @classmethod
    def from_figures(cls, figures: Mapping[str, Any]) -> Self:
        """Return the reproduction whose `figures` these are."""
        return cls(figures["rows"], figures["identical"], figures["difference"])

    def figures(self) -> dict[str, float]:
        """Return the figures and their limits, for the manifest."""
        bounds = {"least_share": LEAST_SHARE, "largest_difference": LARGEST_DIFFERENCE}
        return {**asdict(self), **bounds}


def compare(expected: Generated, found: Generated) -> Reproduction:
    """Compare the best question of each row; both outputs are for the same rows, at least one."""
    same = (expected.tokens[:, 0] == found.tokens[:, 0]).all(axis=1)
    right = expected.scores[same, 0].astype(np.float64)
    differences = np.abs(found.scores[same, 0] - right) / np.maximum(1.0, np.abs(right))
    largest = float(np.max(differences, initial=0.0))
    return Reproduction(len(same), int(same.sum()), largest)


def find_problems(found: Reproduction) -> list[str]:
    """Return why an export is not equivalent."""
    problems = []
    if found.share < LEAST_SHARE:
        problems.append(
            f"{found.identical} of {found.rows} questions are the same as in float32, "
            f"{100 * found.share:.1f} %; at least {100 * LEAST_SHARE:.0f} % must be"
        )
    if not found.difference <= LARGEST_DIFFERENCE:  # also if it is not a number
        problems.append(
            f"the score of a question differs by {found.difference:.3g} from that in float32; at "
            f"most {LARGEST_DIFFERENCE} is allowed"
        )
    return problems


def check_equivalence(
    reference: Path, candidate: Path, predict: PredictSettings, rows: Sequence[Row]
) -> Reproduction:
    """Run two exports on the first device of `predict` and compare their outputs for `rows`.

    Args:
        reference: folder of the plain export.
        candidate: folder of the optimized export.
        predict: devices, precision and batch sizes.
        rows: at least one row.

    Raises:
        ExportError: the candidate does not reproduce the reference; lists every reason.
        DeviceError: the device, or TensorRT, is not available.
        WorkerError: one of them fails.
    """
    plain = predict.model_copy(update={"use_tensorrt": False, "precision": "fp32"})
    expected = _answer(reference, plain, rows)
    found = compare(expected, _answer(candidate, predict, rows))
    if problems := find_problems(found):
        lines = ["the optimized export does not reproduce the float32 one and was not kept:"]
        raise ExportError("\n".join([*lines, *(f"  - {one}" for one in problems), REMEDY]))
    return found


def _answer(folder: Path, predict: PredictSettings, rows: Sequence[Row]) -> Generated:
    contract, device = read_contract(folder), device_names(predict)[0]
    session = Session(folder, contract, predict, device)
    longest = max(len(row.input_ids) for row in rows)
    size = rows_that_fit(longest, predict.batch_size, predict.max_tokens_per_batch)
    answers = [
        session.run(pad_rows(rows[first : first + size], contract.special_tokens.pad))
        for first in range(0, len(rows), size)
    ]
    return Generated(
        tokens=np.concatenate([answer.tokens for answer in answers]),
        scores=np.concatenate([answer.scores for answer in answers]),
    )
