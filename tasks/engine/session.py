"""One loaded predictor: the only way in which Wenti runs an exported model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.engine.batch import Batch, Generated, check_generated
from tasks.engine.contract import Contract
from tasks.engine.devices import device_index, require_devices
from tasks.engine.runtime import Untyped, import_paddle, quiet
from tasks.errors import (
    DeviceError,
    InputError,
    OutOfMemoryError,
    StoreCorruptionError,
    WorkerError,
)
from tasks.settings import PredictSettings

GPU_MEMORY_MB = 100
"""Taken at first; Paddle takes more when it needs it."""

TENSORRT_MIN_SUBGRAPH = 30
MKLDNN_CACHED_SHAPES = 10


class Session:
    """An exported model, loaded on one device, ready to answer batches.

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
        inference = import_paddle().inference
        config = _config(inference, folder, contract, predict, device)
        try:
            with quiet():
                self._predictor = inference.create_predictor(config)
        except RuntimeError as error:
            raise StoreCorruptionError(
                f"{folder}: Paddle cannot load the model ({_last_line(error)}); export it again"
            ) from error
        self._check_names(folder)

    def run(self, batch: Batch) -> Generated:
        """Generate for every row of a batch.

        Raises:
            InputError: the batch is not one that the model can take.
            OutOfMemoryError: the device has not enough memory for a batch of this size.
            BadOutputError: the predictor answered with nonsense.
            WorkerError: the predictor failed.
        """
        self._check_batch(batch)
        arrays = {
            "input_ids": batch.input_ids,
            "token_type_ids": batch.token_type_ids,
            "seq_len": batch.seq_len,
        }
        for spec in self.contract.inputs:
            handle = self._predictor.get_input_handle(spec.variable)
            handle.copy_from_cpu(np.ascontiguousarray(arrays[spec.name]))
        self._run_predictor()
        handles = [self._predictor.get_output_handle(s.variable) for s in self.contract.outputs]
        generated = Generated(*(handle.copy_to_cpu() for handle in handles))
        check_generated(generated, self.contract, len(batch), self.device)
        return generated

    def _run_predictor(self) -> None:
        try:
            self._predictor.run()
        except RuntimeError as error:
            message = str(error)
            if "ResourceExhausted" in message or "out of memory" in message.lower():
                raise OutOfMemoryError(f"{self.device}: {_last_line(error)}") from error
            raise WorkerError(f"{self.device}: the model failed: {_last_line(error)}") from error

    def _check_names(self, folder: Path) -> None:
        inputs = {spec.variable for spec in self.contract.inputs}
        outputs = {spec.variable for spec in self.contract.outputs}
        found = set(self._predictor.get_input_names()), set(self._predictor.get_output_names())
        if found != (inputs, outputs):
            raise StoreCorruptionError(
                f"{folder}: the model takes and gives {found}, its contract says "
                f"{(inputs, outputs)}; export it again"
            )

    def _check_batch(self, batch: Batch) -> None:
        contract, width = self.contract, batch.input_ids.shape[-1]
        problems = {
            "arrays of another type than int32": any(
                array.dtype != np.int32
                for array in (batch.input_ids, batch.token_type_ids, batch.seq_len)
            ),
            "arrays whose shapes do not fit together": batch.input_ids.shape
            != batch.token_type_ids.shape
            or batch.input_ids.shape != (*batch.seq_len.shape, width),
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


def _config(
    inference: Untyped, folder: Path, contract: Contract, predict: PredictSettings, device: str
) -> Untyped:
    """Make the predictor's options those of the example's `inference.py`."""
    config = inference.Config(str(folder / contract.model_file), str(folder / contract.params_file))
    if device.startswith("gpu"):
        config.enable_use_gpu(GPU_MEMORY_MB, device_index(device))
        if predict.use_tensorrt:
            _enable_tensorrt(inference, config, predict)
    else:
        config.disable_gpu()
        # More threads than cores would only wait for each other.
        cores = len(os.sched_getaffinity(0))
        config.set_cpu_math_library_num_threads(min(predict.cpu_threads, cores))
        if predict.enable_mkldnn:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(MKLDNN_CACHED_SHAPES)
        else:
            # Paddle 2.6 uses oneDNN unless told not to. Its own memory layout would make the
            # loop copy every cache in every step.
            config.disable_mkldnn()
    config.switch_ir_optim(True)
    config.enable_memory_optim()
    config.disable_glog_info()
    return config


def _enable_tensorrt(inference: Untyped, config: Untyped, predict: PredictSettings) -> None:
    if inference.get_trt_compile_version() == (0, 0, 0):
        raise DeviceError(
            "this Paddle is built without TensorRT; install one that has it, or set "
            "`predict.use_tensorrt: false`"
        )
    precisions = {"fp32": inference.PrecisionType.Float32, "fp16": inference.PrecisionType.Half}
    config.enable_tensorrt_engine(
        max_batch_size=predict.batch_size,
        min_subgraph_size=TENSORRT_MIN_SUBGRAPH,
        precision_mode=precisions[predict.precision],
    )


def _last_line(error: Exception) -> str:
    """Give the message at the end of Paddle's C++ trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error:" in line), lines[-1] if lines else "")
