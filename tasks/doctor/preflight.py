"""The checks before anything is computed or written; they report everything at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.config.paths import model_folder
from tasks.config.settings import Settings
from tasks.engine.faster_transformer.compatibility import (
    FASTER_TRANSFORMER,
    find_faster_transformer_faults,
)
from tasks.engine.models.registry import find_named, unknown_name, untrained_name
from tasks.engine.paddle.generations.generation import HALF, TENSORRT, find_generation
from tasks.engine.selection import choose_engine
from tasks.errors import ObjectStoreError, PreflightError
from tasks.findings import Finding
from tasks.passages.input import Input
from tasks.passages.layout import KEY as PASSAGES
from tasks.plan.given_export import (
    describe_given_export,
    find_given_faults,
    locate_given_export,
)
from tasks.plan.model import find_model_faults, find_position_faults, locate_model
from tasks.plan.nodes import find_node_faults
from tasks.plan.plan import open_store

HALF_NEEDS_A_GPU = "half precision needs a GPU: a CPU computes it in float32, only slower"


def check(
    settings: Settings, find_machine_faults: Callable[[Settings], Sequence[Finding]] | None = None
) -> None:
    """Check everything that the settings name, and the machine if `find_machine_faults` is given.

    Raises:
        PreflightError: there are faults; lists all of them.
    """
    faults = [*find_node_faults(settings), *find_config_faults(settings)]
    if find_machine_faults is not None:
        faults += find_machine_faults(settings)
    if faults:
        raise PreflightError("the config", faults)


def find_config_faults(settings: Settings) -> list[Finding]:
    """Return everything that is wrong with the files and options that the settings name."""
    open_store(settings)
    return [
        *_model_faults(settings),
        *_passages_faults(settings),
        *_export_faults(settings),
        *_predict_faults(settings),
        *_store_faults(settings),
    ]


def find_model_warnings(settings: Settings) -> list[Finding]:
    """Return what a user may not expect of the model that the settings name."""
    given = locate_given_export(settings)
    if given is not None:
        return [describe_given_export(settings, given)]
    if model_folder(settings.model) is not None:
        return []
    warning = untrained_name(settings.model.model_name_or_path)
    return [] if warning is None else [warning]


def _model_faults(settings: Settings) -> list[Finding]:
    name, given = settings.model.model_name_or_path, locate_given_export(settings)
    if given is not None:
        return find_given_faults(settings, given)
    folder = locate_model(settings, open_store(settings))
    if model_folder(settings.model) is None and not folder.is_dir():
        # It is not downloaded yet; `flows.prepare` checks its positions afterwards.
        return [] if find_named(name) is not None else [unknown_name(name)]
    return find_model_faults(folder) or find_position_faults(settings, folder)


def _passages_faults(settings: Settings) -> list[Finding]:
    try:
        found = Input.of(settings.dataset)
    except ObjectStoreError as error:
        return [Finding(PASSAGES, str(error))]
    return [found] if isinstance(found, Finding) else []


def _export_faults(settings: Settings) -> list[Finding]:
    if locate_given_export(settings) is not None:
        return []
    folder = model_folder(settings.model)
    if choose_engine(settings, folder) == FASTER_TRANSFORMER:
        return find_faster_transformer_faults(settings, folder)
    if missing := _missing_faults(settings):
        return missing
    if settings.export.use_fp16_decoding and settings.predict.use_tensorrt:
        problem = "TensorRT cannot use an export in half precision"
        remedy = "set it to false; predict.precision=fp16 is TensorRT's own half precision"
        return [Finding("export.use_fp16_decoding", problem, remedy)]
    return []


def _missing_faults(settings: Settings) -> list[Finding]:
    """Return the options that Wenti does not support with the installed generation of Paddle."""
    missing = find_generation().missing
    half = "export.use_fp16_decoding" if settings.export.use_fp16_decoding else "predict.precision"
    wanted = {
        half: (
            settings.is_half,
            HALF,
            "set export.use_fp16_decoding=false, predict.precision=fp32",
        ),
        "predict.use_tensorrt": (settings.predict.use_tensorrt, TENSORRT, "set it to false"),
    }
    return [
        Finding(key, missing[what], f"{remedy}, or use Paddle 2 (docs/gpu.md)")
        for key, (is_set, what, remedy) in wanted.items()
        if is_set and what in missing and settings.export.engine != "fake"
    ]


def _predict_faults(settings: Settings) -> list[Finding]:
    """Return the options that need a GPU, on a CPU; the fake engine accepts them anywhere."""
    predict = settings.predict
    if predict.device_kind == "gpu" or settings.export.engine == "fake":
        return []
    for_gpus = {
        "predict.use_tensorrt": (predict.use_tensorrt, "TensorRT needs a GPU"),
        "predict.precision": (predict.precision == "fp16", HALF_NEEDS_A_GPU),
        "export.use_fp16_decoding": (settings.export.use_fp16_decoding, HALF_NEEDS_A_GPU),
    }
    remedy = "leave it out, or set predict.device=gpu"
    return [Finding(key, problem, remedy) for key, (is_set, problem) in for_gpus.items() if is_set]


def _store_faults(settings: Settings) -> list[Finding]:
    places = {
        "store.path": settings.store.folder,
        "export.inference_model_dir": settings.export.copy_folder,
    }
    return [
        Finding(key, f"{place} is a file", "give a folder, or a path where one can be created")
        for key, place in places.items()
        if isinstance(place, Path) and place.is_file()
    ]
