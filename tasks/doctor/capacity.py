"""Estimates of memory and disk space, and whether this machine has enough for a config."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tasks.addresses import ObjectPlace
from tasks.config.settings import Settings
from tasks.engine.gpu.driver import (
    Gpu,
    device_index,
    device_names,
    gigabytes,
    probe_gpus,
    visible_here,
)
from tasks.engine.models.memory import NUMBER, Need, estimate_need, read_size
from tasks.errors import DeviceError, ObjectStoreError
from tasks.findings import Finding
from tasks.passages.files import find_files
from tasks.passages.finding.file import InputFile
from tasks.passages.layout import PACKED as COMPRESSIONS
from tasks.passages.layout import kind_of
from tasks.plan.model import locate_model
from tasks.plan.plan import open_store
from tasks.store.objects.connection import DEFAULT_CACHE

PACKED = 6
"""Bytes of text per byte of gzip, which is also in workbooks."""

PER_BYTE = 8
"""Bytes in the store per byte of passages: tokens, questions, results; 6.7 in the demo."""


def check_memory(settings: Settings) -> list[Finding]:
    """Check that each device has enough memory for the model and a batch."""
    folder = existing_model(settings)
    size = None if folder is None else read_size(folder)
    if settings.export.engine == "fake":
        return []
    if size is None:
        return [Finding("memory", "unknown until the model is downloaded", severity="ok")]
    need = estimate_need(size, settings)
    if settings.predict.device_kind == "cpu":
        workers = len(device_names(settings.predict))
        return [check_need("memory", need, workers, *_memory_of_the_host())]
    return [
        check_need(f"memory of {device}", need, 1, gpu.memory, gpu.free)
        for device, gpu in _gpus_of(settings)
    ] or [Finding("memory", f"{describe_need(need)} on each GPU", severity="ok")]


def _gpus_of(settings: Settings) -> list[tuple[str, Gpu]]:
    try:
        gpus = visible_here(probe_gpus())
    except DeviceError:
        return []
    names = device_names(settings.predict)
    return [(name, gpus[device_index(name)]) for name in names if device_index(name) < len(gpus)]


def check_need(what: str, need: Need, workers: int, memory: int, free: int) -> Finding:
    """Check that workers fit into a device's memory.

    Args:
        what: the key of the finding, which names the memory.
        need: the need of one worker.
        workers: the number of workers that share the memory.
        memory: its size in bytes.
        free: the bytes that are free now.
    """
    most, least = workers * need.most, workers * need.least
    seen = f"{describe_need(need, workers)}, {gigabytes(free)} of {gigabytes(memory)} free"
    smaller = "lower predict.batch_size, predict.max_tokens_per_batch or decode.num_beams"
    if least > memory:
        return Finding(what, seen, "use a device with more memory, or a smaller model")
    if most > memory:
        return Finding(what, f"{seen}: batches will be halved", smaller, "warning")
    if most > free:
        return Finding(what, seen, f"end other programs that use it, or {smaller}", "warning")
    return Finding(what, seen, severity="ok")


def describe_need(need: Need, workers: int = 1) -> str:
    """Return in words the memory that `workers` need together."""
    each = f"{gigabytes(need.weights)} weights, {gigabytes(need.batch)} a batch"
    count = "" if workers == 1 else f"{workers} times "
    return f"about {gigabytes(workers * need.most)} needed ({count}{each})"


def _memory_of_the_host() -> tuple[int, int]:
    """Return total and available memory in bytes, from /proc/meminfo (man 5 proc)."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    parts = (line.partition(":") for line in lines)
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in parts}
    return kibibytes["MemTotal"] * 1024, kibibytes["MemAvailable"] * 1024


def check_space(settings: Settings) -> Finding:
    """Check that the store's disk has room for what a run writes."""
    root = _filled_folder(settings).absolute()
    place = next(one for one in (root, *root.parents) if one.is_dir())
    need, free = estimate_space(settings), shutil.disk_usage(place).free
    is_known = existing_model(settings) is not None and settings.dataset.predict_file is not None
    what = "needed" if is_known else "needed, plus the downloads"
    seen = f"about {megabytes(need)} {what}; {gigabytes(free)} free in {place}"
    if need > free:
        is_far = isinstance(settings.store.folder, ObjectPlace)
        key = "store.cache" if is_far else "store.path"
        remedy = f"free some, or choose another place with `{key}`"
        return Finding("disk space", seen, remedy, "warning")
    return Finding("disk space", seen, severity="ok")


def _filled_folder(settings: Settings) -> Path:
    """Return the folder that a run fills: the store, or the copies of what is in a bucket."""
    root = settings.store.folder
    if isinstance(root, ObjectPlace):
        return Path(settings.store.cache or DEFAULT_CACHE).expanduser()
    return Path(root)


def estimate_space(settings: Settings) -> int:
    """Return an upper estimate of the bytes that a run writes into the store if nothing is reused.

    The exported model has the size of the weights; each byte of passages counts `PER_BYTE` times,
    and compressed ones `PACKED` times as much. Downloads are not counted.
    """
    folder, given = existing_model(settings), settings.dataset.file
    size = None if folder is None else read_size(folder)
    files: Sequence[InputFile] | Finding = ()
    with suppress(ObjectStoreError):  # which the look at the passages tells, too
        files = () if given is None else find_files(given)
    text = 0 if isinstance(files, Finding) else sum(_text_size(file.path) for file in files)
    return PER_BYTE * text + (0 if size is None else NUMBER * size.parameters)


def _text_size(path: Path) -> int:
    """Return the size of a file of passages in bytes, about, when it is unpacked."""
    size = 0
    with suppress(OSError):  # which the look at the passages tells
        size = path.stat().st_size
    return size * PACKED if kind_of(path).endswith((*COMPRESSIONS, ".xlsx")) else size


def existing_model(settings: Settings) -> Path | None:
    """Return the model folder; None if it does not exist yet."""
    folder = locate_model(settings, open_store(settings))
    return folder if folder.is_dir() else None


def megabytes(count: int) -> str:
    """Return a number of bytes in MB (10^6 bytes), such as `12.3 MB`."""
    return f"{count / 1e6:.1f} MB"
