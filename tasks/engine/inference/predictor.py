"""Paddle Inference: the only module that creates and runs predictors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.config.settings import PredictSettings
from tasks.engine.batch import Generated, no_scores
from tasks.engine.contract import Contract
from tasks.engine.paddle.api import inference_config, save_memory, write_in_place
from tasks.engine.paddle.custom_operators import load_operator
from tasks.engine.paddle.devices import device_index
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.errors import DeviceError, OutOfMemoryError, StoreCorruptionError, WorkerError

GPU_MEMORY_MB = 100
"""Allocated at the start; Paddle allocates more when it needs it."""

WRONG_PASSES = (
    "embedding_eltwise_layernorm_fuse_pass",
    "trt_embedding_eltwise_layernorm_fuse_pass",
)
"""Passes for GPUs that break this graph: their fused embedding operator accepts only int64 ids, and
these are int32."""

TENSORRT_MIN_SUBGRAPH = 30
MKLDNN_CACHED_SHAPES = 10


class Predictor:
    """A loaded graph. Only one thread may use it at a time; other threads use a `clone`."""

    def __init__(self, predictor: Untyped, contract: Contract, device: str) -> None:
        self._predictor, self._contract, self._device = predictor, contract, device

    def clone(self) -> Predictor:
        """Return a predictor for another thread that shares the weights of this one."""
        return Predictor(self._predictor.clone(), self._contract, self._device)

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> Generated:
        """Run the graph on the inputs in its contract, given by name.

        Raises:
            OutOfMemoryError: the device does not have enough memory.
            WorkerError: the predictor failed.
        """
        for spec in self._contract.inputs:
            handle = self._predictor.get_input_handle(spec.variable)
            handle.copy_from_cpu(np.ascontiguousarray(arrays[spec.name]))
        try:
            self._predictor.run()
        except RuntimeError as error:
            self._raise(error)
        handles = [self._predictor.get_output_handle(s.variable) for s in self._contract.outputs]
        tokens, *scores = (handle.copy_to_cpu() for handle in handles)
        return Generated(tokens, scores[0] if scores else no_scores(tokens))

    def _raise(self, error: RuntimeError) -> None:
        message = str(error)
        if "ResourceExhausted" in message or "out of memory" in message.lower():
            raise OutOfMemoryError(f"{self._device}: {_last_line(error)}") from error
        raise WorkerError(f"{self._device}: the model failed: {_last_line(error)}") from error


def load_predictor(
    folder: Path, contract: Contract, predict: PredictSettings, device: str, threads: int
) -> Predictor:
    """Load an exported graph.

    Args:
        folder: the folder of the files that `contract` names.
        contract: the contract of the model.
        predict: precision and accelerators.
        device: `cpu`, `gpu` or `gpu:<index>`.
        threads: number of threads for matrix products on the CPU.

    Raises:
        DeviceError: a configured accelerator is not available.
        ExportError: the operators that the model needs cannot be loaded.
        StoreCorruptionError: the model cannot be loaded, or does not agree with the contract.
    """
    if contract.operator_library is not None:
        load_operator(folder / contract.operator_library)
    for name in (contract.model_file, contract.params_file):
        if not (folder / name).is_file():  # Paddle 3 would start without the weights
            raise StoreCorruptionError(f"{folder / name} is missing; export the model again")
    try:
        with quiet():
            config = make_config(folder, contract, predict, device)
            config.set_cpu_math_library_num_threads(threads)
            predictor = import_paddle().inference.create_predictor(config)
    except (RuntimeError, ValueError) as error:  # the latter is Paddle's InvalidArgument
        raise StoreCorruptionError(
            f"{folder}: Paddle cannot load the model ({_last_line(error)}); export it again"
        ) from error
    _check_names(predictor, contract, folder)
    return Predictor(predictor, contract, device)


def _check_names(predictor: Untyped, contract: Contract, folder: Path) -> None:
    inputs = {spec.variable for spec in contract.inputs}
    outputs = {spec.variable for spec in contract.outputs}
    found = set(predictor.get_input_names()), set(predictor.get_output_names())
    if found != (inputs, outputs):
        raise StoreCorruptionError(
            f"{folder}: the model's inputs and outputs are {found}, its contract says "
            f"{(inputs, outputs)}; export it again"
        )


def make_config(folder: Path, contract: Contract, predict: PredictSettings, device: str) -> Untyped:
    """Return Paddle Inference's options, as in the example's `inference.py`."""
    config = inference_config(folder / contract.model_file, folder / contract.params_file)
    if device.startswith("gpu"):
        config.enable_use_gpu(GPU_MEMORY_MB, device_index(device))
        if predict.use_tensorrt:
            _enable_tensorrt(config, predict)
            if contract.shapes_file is not None:
                config.enable_tuned_tensorrt_dynamic_shape(str(folder / contract.shapes_file), True)
        for name in WRONG_PASSES:
            config.delete_pass(name)
    else:
        config.disable_gpu()
        if predict.enable_mkldnn:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(MKLDNN_CACHED_SHAPES)
        else:
            # Paddle 2.6 uses oneDNN by default. Its memory layout would make the loop copy every
            # cache in every step.
            config.disable_mkldnn()
        write_in_place(config)
    config.switch_ir_optim(True)
    save_memory(config)
    return config


def _enable_tensorrt(config: Untyped, predict: PredictSettings) -> None:
    inference = import_paddle().inference
    if inference.get_trt_compile_version() == (0, 0, 0):
        raise DeviceError(
            "this Paddle is built without TensorRT; install one that has it, or set "
            "`predict.use_tensorrt: false`"
        )
    try:
        inference.get_trt_runtime_version()
    except RuntimeError as error:
        problem = "TensorRT is not installed, or not where the dynamic loader looks for libraries"
        raise DeviceError(f"{problem}; set `predict.use_tensorrt: false`") from error
    precisions = {"fp32": inference.PrecisionType.Float32, "fp16": inference.PrecisionType.Half}
    config.enable_tensorrt_engine(
        max_batch_size=predict.batch_size,
        min_subgraph_size=TENSORRT_MIN_SUBGRAPH,
        precision_mode=precisions[predict.precision],
        use_calib_mode=False,
    )


def _last_line(error: Exception) -> str:
    """Return the message at the end of Paddle's C++ trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error:" in line), lines[-1] if lines else "")
