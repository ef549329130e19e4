"""Whether FasterTransformer can be used, and every reason why not, found without Paddle.

Which options of a search the operator applies was read in the sources that PaddleNLP 2.8.1 ships in
paddlenlp/ops: fast_transformer/transformer/{fast_transformer,decoding}.py pass them on, and
fast_transformer/src/fusion_unified_decoding_op.cu and patches/FasterTransformer use them. An option
that would be ignored, or have a different meaning, is a reason against it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.config.settings import DecodeSettings, Settings
from tasks.engine.export.requirements import decode_reasons
from tasks.engine.faster_transformer.toolchain import find_toolchain, toolchain_faults
from tasks.engine.gpu.driver import device_index, device_names, probe_gpus, visible_here
from tasks.engine.gpu.fat_binaries import Capability, Kernels, name_architecture, read_kernels
from tasks.engine.models.config import ModelConfig, read_config
from tasks.engine.paddle.custom_operators import OPERATOR
from tasks.engine.paddle.generations.generation import OPERATORS, find_generation
from tasks.errors import DeviceError
from tasks.findings import Finding

FASTER_TRANSFORMER = "faster_transformer"
HEAD_SIZES = (32, 64, 128)
MOST_TOPK = 64
MOST_FUSED_BEAMS = 4
"""With more beams, a different kernel is used."""

ENGINE_KEY, LIBRARY_KEY = "export.engine", "export.decoding_lib"
MODEL_KEY = "model.model_name_or_path"
OR_NATIVE = "or set `export.engine: native`"
PARALLEL_VARIABLES = (
    "MPI_LOCALNRANKS",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "WORLD_SIZE",
)
"""The variables where PaddleNLP's `FTParaConf` looks for the number of processes per model."""


def find_faster_transformer_faults(
    settings: Settings, model_folder: Path | None = None
) -> list[Finding]:
    """Return every reason against FasterTransformer for these settings on this machine."""
    return [
        *option_faults(settings),
        *model_faults(model_folder),
        *parallel_faults(os.environ),
        *machine_faults(settings),
    ]


def option_faults(settings: Settings) -> list[Finding]:
    """Return a fault for each option that the operator ignores or interprets differently.

    With Paddle 3, the only one is that there is no operator.
    """
    decode, gone = settings.decode, find_generation().missing.get(OPERATORS)
    if gone is not None:
        return [Finding(ENGINE_KEY, gone, OR_NATIVE.removeprefix("or "))]
    faults = [*_ignored_options(decode), *_sampling_faults(decode), *_beam_faults(decode)]
    if settings.predict.use_tensorrt:
        problem = "TensorRT has nothing to optimize: the whole generation is one custom operator"
        faults.append(Finding("predict.use_tensorrt", problem, f"set it to false, {OR_NATIVE}"))
    return faults


def _ignored_options(decode: DecodeSettings) -> list[Finding]:
    """Return a fault for each option that is set but not used by this search or the operator."""
    usual = DecodeSettings()
    ignored = decode.unused_options | {"num_return_sequences", "repetition_penalty", "seed"}
    if decode.decoding_strategy == "beam_search":
        ignored -= {"num_beams"}  # one beam means greedy search
    return [
        Finding(
            f"decode.{name}",
            f"FasterTransformer ignores it in {decode.decoding_strategy}",
            f"leave it at {getattr(usual, name)}, {OR_NATIVE}",
        )
        for name in sorted(ignored)
        if getattr(decode, name) != getattr(usual, name)
    ]


def _sampling_faults(decode: DecodeSettings) -> Iterator[Finding]:
    if not decode.is_sampling:
        return
    if decode.topk > 0 and decode.topp < 1:
        problem = "FasterTransformer samples by topk or by topp, not by both"
        yield Finding("decode.topp", problem, f"set decode.topk=0 or decode.topp=1.0, {OR_NATIVE}")
    if decode.topk > MOST_TOPK:
        problem = f"FasterTransformer aborts the process with more than {MOST_TOPK}"
        yield Finding("decode.topk", problem, f"allowed here: 0 to {MOST_TOPK}, {OR_NATIVE}")
    if decode.topk == 0 and decode.min_dec_len == 0:
        # With topp it does not count the eos token, and Paddle crashes on empty tensors.
        problem = "a batch whose questions are all empty would crash the process"
        yield Finding("decode.min_dec_len", problem, f"allowed here: at least 1, {OR_NATIVE}")


def _beam_faults(decode: DecodeSettings) -> Iterator[Finding]:
    if not decode.has_beams:
        return
    if decode.diversity_rate > 0 and decode.num_beams > MOST_FUSED_BEAMS:
        yield Finding(
            "decode.diversity_rate",
            f"with more than {MOST_FUSED_BEAMS} beams FasterTransformer leaves the penalty in the "
            "score, which is a different search",
            f"leave it at 0.0, or set decode.num_beams to at most {MOST_FUSED_BEAMS}, {OR_NATIVE}",
        )
    if decode_reasons(decode):
        problem = "it exceeds the range of floating-point numbers"
        yield Finding("decode.length_penalty", problem, "choose one near 1")


def model_faults(folder: Path | None) -> list[Finding]:
    """Return why the operator cannot run the model in a folder, as far as its config shows."""
    # Faults of the config itself are found by the preflight of the model.
    return [] if folder is None else shape_faults(read_config(folder))


def shape_faults(config: ModelConfig) -> list[Finding]:
    """Return why the operator cannot run a UNIMO model with this config."""
    remedy = "use another model, or set `export.engine: native`"
    return [Finding(MODEL_KEY, problem, remedy) for problem in _shape_problems(config)]


def _shape_problems(config: ModelConfig) -> Iterator[str]:
    hidden, heads = config.hidden_size, config.num_attention_heads
    inner = config.intermediate_size
    if hidden and heads and hidden // heads not in HEAD_SIZES:
        known = ", ".join(str(size) for size in HEAD_SIZES)
        yield f"its heads have size {hidden // heads}; FasterTransformer supports {known}"
    if hidden and inner and inner % hidden:
        yield (
            f"its intermediate_size {inner} is not a multiple of its hidden_size {hidden}, as "
            "FasterTransformer requires"
        )
    if config.normalize_before:
        yield (
            "it normalizes before each layer (normalize_before), for which "
            "FasterTransformer does not get the weights of a UNIMO model"
        )


def parallel_faults(environment: Mapping[str, str]) -> list[Finding]:
    """Return a fault for each variable that makes PaddleNLP split the model, as under MPI."""
    return [
        Finding(
            ENGINE_KEY,
            f"{name}={environment[name]} makes PaddleNLP export only a part of the model",
            f"unset {name} for Wenti",
        )
        for name in PARALLEL_VARIABLES
        if environment.get(name, "1").strip() not in ("1", "-1")
    ]


def machine_faults(settings: Settings) -> list[Finding]:
    """Return why the operators cannot be loaded or, if no library is given, built."""
    library = settings.export.library
    if library is None:
        return build_faults()
    return library_faults(library, device_names(settings.predict))


def build_faults() -> list[Finding]:
    """Return why the operators cannot be built on this machine."""
    problem = "FasterTransformer's operators cannot be built"
    otherwise = f"give a library in {LIBRARY_KEY}, {OR_NATIVE}"
    return [
        Finding(ENGINE_KEY, f"{problem}: {one.problem}", f"{one.remedy}, {otherwise}")
        for one in toolchain_faults(find_toolchain())
    ]


def library_faults(library: Path, devices: Sequence[str]) -> list[Finding]:
    """Return what is wrong with a library of operators, without loading it."""
    try:
        kernels = read_kernels(library)
        is_there = _mentions(library, OPERATOR)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not a shared library"
        remedy = "give the libdecoding_op.so that PaddleNLP 2.8.1 built"
        return [Finding(LIBRARY_KEY, f"{library}: {problem}", f"{remedy}, {OR_NATIVE}")]
    if not is_there:
        remedy = "build it from PaddleNLP 2.8.1 with WITH_UNIFIED=ON, which is the default"
        return [Finding(LIBRARY_KEY, f"{library} has no operator {OPERATOR}", remedy)]
    return kernel_faults(library, kernels, devices[0], _capabilities(devices))


def kernel_faults(
    library: Path, kernels: Kernels | None, device: str, gpus: Iterable[Capability]
) -> list[Finding]:
    """Return every reason why a library does not run on the devices.

    Args:
        library: its path, for the messages.
        kernels: the library's kernels; None if it has none for GPUs.
        device: one of the devices, which are all of one kind.
        gpus: the compute capabilities of the GPUs, as far as they are known.
    """
    if device.startswith("cpu"):
        remedy = "set predict.device=gpu, or `export.engine: native`"
        fault = Finding(LIBRARY_KEY, f"{library} is for GPUs only", remedy)
        return [] if kernels is None else [fault]
    if kernels is None:
        remedy = "give the libdecoding_op.so that PaddleNLP built"
        return [Finding(LIBRARY_KEY, f"{library} has no kernels for GPUs", remedy)]
    return [
        Finding(
            LIBRARY_KEY,
            f"{library} has no kernels for {name_architecture(gpu)} (it has {kernels})",
            f"leave it out to build one for this machine, {OR_NATIVE}",
        )
        for gpu in sorted(set(gpus))
        if kernels.find_for(gpu) is None
    ]


def _capabilities(devices: Sequence[str]) -> list[Capability]:
    try:
        gpus = visible_here(probe_gpus())
    except DeviceError:
        return []  # the preflight of the devices reports missing GPUs
    return [gpus[n].capability for n in map(device_index, devices) if n < len(gpus)]


def _mentions(library: Path, name: str) -> bool:
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return data.find(name.encode()) != -1
