"""What can be known to be wrong before anything is computed or written, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tasks import model_files
from tasks.errors import Fault, PreflightError
from tasks.passage_kinds import find_fault
from tasks.settings import Settings

DeviceCheck = Callable[[tuple[str, ...]], Sequence[Fault]]


def check(settings: Settings, find_device_faults: DeviceCheck | None = None) -> None:
    """Look at everything that the settings name; at the devices only if it is told how.

    `find_device_faults` is asked for GPUs only, because asking means importing Paddle.

    Raises:
        PreflightError: with every fault that was found.
    """
    faults = [
        *_model_faults(settings),
        *_passages_faults(settings),
        *_export_faults(settings),
        *_predict_faults(settings),
        *_store_faults(settings),
    ]
    uses_gpu = settings.predict.device_kind == "gpu" and settings.export.engine != "fake"
    if find_device_faults is not None and uses_gpu:
        faults += find_device_faults(settings.predict.device_names)
    if faults:
        raise PreflightError("the config", faults)


def _model_faults(settings: Settings) -> list[Fault]:
    name_or_path = settings.model.model_name_or_path
    if not model_files.is_folder_path(name_or_path):
        return []  # a name: PaddleNLP finds out when it downloads it
    folder = Path(name_or_path).expanduser()
    return model_files.find_faults(folder) or _length_faults(settings, folder)


def _length_faults(settings: Settings, folder: Path) -> list[Fault]:
    longest, wanted = model_files.longest_row(folder), settings.dataset.max_seq_len
    if longest is None or wanted <= longest:
        return []
    problem = f"{wanted} is more than the model has positions for"
    return [Fault("dataset.max_seq_len", problem, f"allowed here: at most {longest}")]


def _passages_faults(settings: Settings) -> list[Fault]:
    name = settings.dataset.predict_file
    fault = None if name is None else find_fault(Path(name).expanduser())
    return [] if fault is None else [fault]


def _export_faults(settings: Settings) -> list[Fault]:
    faults = []
    if settings.export.engine == "faster_transformer":
        problem = "faster_transformer cannot be used by this version of Wenti"
        faults.append(Fault("export.engine", problem, "use native or auto"))
    if settings.export.use_fp16_decoding:
        problem = "the native engine cannot decode in half precision yet"
        faults.append(Fault("export.use_fp16_decoding", problem, "set it to false"))
    return faults


def _predict_faults(settings: Settings) -> list[Fault]:
    predict = settings.predict
    faults = []
    if predict.use_tensorrt and predict.device_kind == "cpu":
        remedy = "leave it out, or set predict.device=gpu"
        faults.append(Fault("predict.use_tensorrt", "TensorRT needs a GPU", remedy))
    if predict.precision == "fp16" and not predict.use_tensorrt:
        problem = "fp16 is a precision of TensorRT and does nothing without it"
        remedy = "set predict.use_tensorrt=true, or leave it at fp32"
        faults.append(Fault("predict.precision", problem, remedy))
    return faults


def _store_faults(settings: Settings) -> list[Fault]:
    places = {
        "store.path": settings.store.path,
        "export.inference_model_dir": settings.export.inference_model_dir,
    }
    return [
        Fault(key, f"{place} is a file", "give a folder, or a path where one can be made")
        for key, place in places.items()
        if place is not None and Path(place).expanduser().is_file()
    ]
