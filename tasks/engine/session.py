"""One loaded model, ready to answer batches: the only way in which Wenti runs one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.engine.batch import Batch, Generated, check_generated, cut_batch, join_generated
from tasks.engine.contract import Contract
from tasks.engine.devices import require_devices
from tasks.engine.draws import draw_uniforms
from tasks.engine.predictor import Predictor, load_predictor
from tasks.errors import InputError
from tasks.settings import PredictSettings

LEAST_ROWS = 4
"""Of a part of a batch: with fewer, reading the weights takes longer than multiplying by them."""


class Session:
    """An exported model, loaded on one device, ready to answer batches.

    On the CPU a batch is cut into parts that run side by side, each with a predictor of its own
    on the same weights: one matrix product shared by all threads leaves them waiting for each
    other between the products.

    Args:
        folder: holds the files that `contract` names.
        contract: of the model.
        predict: precision, threads and accelerators.
        device: `cpu`, `gpu` or `gpu:<index>`; one of `predict.device_names`.

    Raises:
        DeviceError: the device, or an accelerator asked for, is not there.
        StoreCorruptionError: the model cannot be loaded or is not what the contract says.
    """

    def __init__(
        self, folder: Path, contract: Contract, predict: PredictSettings, device: str
    ) -> None:
        self.contract = contract
        self.device = device
        require_devices([device])
        parts, threads = share_threads(predict) if device.startswith("cpu") else (1, 1)
        first = load_predictor(folder, contract, predict, device, threads)
        self._predictors = [first, *(first.clone() for _ in range(parts - 1))]
        self._threads = ThreadPoolExecutor(parts, thread_name_prefix=f"predict-{device}")

    def run(self, batch: Batch) -> Generated:
        """Generate for every row of a batch.

        Raises:
            InputError: the batch is not one that the model can take.
            OutOfMemoryError: the device has not enough memory for a batch of this size.
            BadOutputError: the predictor answered with nonsense.
            WorkerError: the predictor failed.
        """
        self._check_batch(batch)
        parts = cut_batch(batch, min(len(self._predictors), len(batch)))
        predictors = self._predictors[: len(parts)]
        return join_generated(list(self._threads.map(self._run_part, predictors, parts)))

    def _run_part(self, predictor: Predictor, part: Batch) -> Generated:
        arrays: dict[str, NDArray[Any]] = {
            "input_ids": part.input_ids,
            "token_type_ids": part.token_type_ids,
            "seq_len": part.seq_len,
        }
        if self.contract.decode.is_sampling:
            arrays["uniforms"] = draw_uniforms(part.numbers, self.contract.decode)
        generated = predictor.run(arrays)
        check_generated(generated, self.contract, len(part), self.device)
        return generated

    def _check_batch(self, batch: Batch) -> None:
        contract, width = self.contract, batch.input_ids.shape[-1]
        problems = {
            "arrays of another type than int32": any(
                array.dtype != np.int32
                for array in (batch.input_ids, batch.token_type_ids, batch.seq_len)
            ),
            "arrays whose shapes do not fit together": batch.input_ids.shape
            != batch.token_type_ids.shape
            or batch.input_ids.shape != (*batch.seq_len.shape, width)
            or batch.numbers.shape != batch.seq_len.shape,
            "no rows": len(batch) == 0,
            f"{width} tokens in a row where the model takes 2 to {contract.longest_row}": not 2
            <= width
            <= contract.longest_row,
        }
        self._refuse([problem for problem, is_there in problems.items() if is_there])
        limits = {
            "seq_len": (batch.seq_len, 2, width),
            "input_ids": (batch.input_ids, 0, contract.vocab_size - 1),
            "token_type_ids": (batch.token_type_ids, 0, contract.type_vocab_size - 1),
        }
        self._refuse(
            f"{name} outside of {low} to {high}"
            for name, (array, low, high) in limits.items()
            if array.min() < low or array.max() > high
        )

    @staticmethod
    def _refuse(problems: Iterable[str]) -> None:
        if found := list(problems):
            raise InputError(f"the model cannot take this batch: it has {'; '.join(found)}")


def share_threads(predict: PredictSettings) -> tuple[int, int]:
    """Give the number of parts that a batch is cut into on the CPU, and the threads of each."""
    # More threads than cores would only wait for each other.
    threads = min(predict.cpu_threads, len(os.sched_getaffinity(0)))
    parts = max(1, min(threads, predict.batch_size // LEAST_ROWS))
    return parts, threads // parts
