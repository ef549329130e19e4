"""A loaded model that can run batches: the only way in which Wenti runs a model."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.config.settings import PredictSettings
from tasks.engine.batch import Batch, Generated, check_generated, cut_batch, join_generated
from tasks.engine.contract import Contract
from tasks.engine.gpu.driver import device_names
from tasks.engine.inference.predictor import Predictor, load_predictor
from tasks.engine.inference.random_numbers import draw_uniforms
from tasks.engine.paddle.devices import require_devices
from tasks.errors import InputError

LEAST_ROWS = 4
"""In a part of a batch: with fewer, reading the weights takes longer than multiplying by them."""


class Session:
    """An exported model, loaded on one device, that can run batches.

    On the CPU, a batch is split into parts that run in parallel, each with its own predictor on
    shared weights: if all threads shared each matrix product, they would wait for each other
    between the products.

    Args:
        folder: the folder of the files that `contract` names.
        contract: the contract of the model.
        predict: precision, threads and accelerators.
        device: `cpu`, `gpu` or `gpu:<index>`, as numbered in this process.
        called: the name of the device in messages, if other processes number it differently.

    Raises:
        DeviceError: the device, or a configured accelerator, is not available.
        ExportError: the operators that the model needs cannot be loaded.
        StoreCorruptionError: the model cannot be loaded, or does not agree with the contract.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        predict: PredictSettings,
        device: str,
        called: str | None = None,
    ) -> None:
        self.contract = contract
        self.device = called or device
        require_devices([device])
        share = share_threads(predict) if device.startswith("cpu") else ON_GPU
        self._parts = share.parts
        self._predictors: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
        predictor = load_predictor(folder, contract, predict, device, share.threads)
        self._predictors.put(predictor)
        for _ in range(share.at_once - 1):
            self._predictors.put(predictor.clone())
        self._threads = ThreadPoolExecutor(share.at_once, thread_name_prefix=f"predict-{device}")

    def run(self, batch: Batch) -> Generated:
        """Generate sequences for every row of a batch.

        Raises:
            InputError: the batch is not a valid input of the model.
            OutOfMemoryError: the device does not have enough memory for the batch.
            BadOutputError: the output does not agree with the contract.
            WorkerError: the predictor failed.
        """
        self._check_batch(batch)
        parts = cut_batch(batch, min(self._parts, len(batch)))
        return join_generated(list(self._threads.map(self._run_part, parts)))

    def _run_part(self, part: Batch) -> Generated:
        arrays = to_arrays(part, self.contract)
        predictor = self._predictors.get()
        try:
            generated = predictor.run(arrays)
        finally:
            self._predictors.put(predictor)
        check_generated(generated, self.contract, len(part), self.device)
        return generated

    def _check_batch(self, batch: Batch) -> None:
        contract, width = self.contract, batch.input_ids.shape[-1]
        problems = {
            "arrays that are not int32": any(
                array.dtype != np.int32
                for array in (batch.input_ids, batch.token_type_ids, batch.seq_len)
            ),
            "arrays whose shapes do not fit together": batch.input_ids.shape
            != batch.token_type_ids.shape
            or batch.input_ids.shape != (*batch.seq_len.shape, width)
            or batch.numbers.shape != batch.seq_len.shape,
            "no rows": len(batch) == 0,
            f"{width} tokens in a row, but the model takes 2 to {contract.longest_row}": not 2
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
            f"{name} outside {low} to {high}"
            for name, (array, low, high) in limits.items()
            if array.min() < low or array.max() > high
        )

    @staticmethod
    def _refuse(problems: Iterable[str]) -> None:
        if found := list(problems):
            raise InputError(f"the model cannot take this batch: it has {'; '.join(found)}")


def to_arrays(batch: Batch, contract: Contract) -> dict[str, NDArray[Any]]:
    """Return the inputs of a model for a batch, by their names in the contract."""
    arrays: dict[str, NDArray[Any]] = {
        "input_ids": batch.input_ids,
        "token_type_ids": batch.token_type_ids,
        "seq_len": batch.seq_len,
    }
    if contract.takes_uniforms:
        arrays["uniforms"] = draw_uniforms(batch.numbers, contract.decode)
    return arrays


class Share(NamedTuple):
    """How a worker on the CPU uses its cores.

    Attributes:
        parts: the number of parts that a batch is split into.
        at_once: the number of parts that run in parallel.
        threads: the number of threads of each of these.
    """

    parts: int
    at_once: int
    threads: int


ON_GPU = Share(1, 1, 1)


def share_threads(predict: PredictSettings) -> Share:
    """Return a worker's share of the cores, which the workers on this machine divide.

    The number of parts, which affects the last digits of scores, is that of a single worker; with
    fewer cores, fewer parts run in parallel.
    """
    # More threads than cores would only wait for each other.
    cores = len(os.sched_getaffinity(0))
    alone = min(predict.cpu_threads, cores)
    own = min(predict.cpu_threads, max(1, cores // len(device_names(predict))))
    parts = max(1, min(alone, predict.batch_size // LEAST_ROWS))
    at_once = min(parts, own)
    return Share(parts, at_once, min(alone // parts, own // at_once))
