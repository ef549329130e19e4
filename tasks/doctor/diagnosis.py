"""Whether this machine has what a config needs, for `wenti doctor` and for every run.

A run makes only the cheap checks (`find_machine_faults`), which import neither Paddle nor Prefect
and write nothing; `wenti doctor` makes all checks, and also shows what is in order.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Set
from pathlib import Path

from tasks.addresses import ObjectPlace
from tasks.cluster.installation import find_ray_faults
from tasks.config.settings import Settings
from tasks.doctor.capacity import check_memory, check_space, existing_model, megabytes
from tasks.doctor.cluster import examine_cluster
from tasks.doctor.folders import check_folders
from tasks.doctor.outputs import check_deliveries
from tasks.doctor.places import find_place_faults
from tasks.doctor.preflight import find_config_faults, find_model_warnings
from tasks.engine.export.tensorrt import find_tensorrt_faults
from tasks.engine.faster_transformer.compatibility import (
    FASTER_TRANSFORMER,
    find_faster_transformer_faults,
)
from tasks.engine.gpu.driver import KEY, OR_CPU, device_index, device_names
from tasks.engine.models.memory import read_size
from tasks.engine.paddle.devices import check_devices
from tasks.engine.paddle.generations.generation import find_paddlenlp_faults
from tasks.engine.paddle.installation import (
    INSTALL,
    describe_paddle,
    find_builds,
    find_package_faults,
    find_version,
    plans_for_nodes,
)
from tasks.engine.paddle.probe import PaddleProbe, probe_paddle
from tasks.engine.selection import choose_engine
from tasks.errors import StorageError, UnusableError, WentiError
from tasks.findings import Finding, Severity
from tasks.passages.finding.file import show_given
from tasks.passages.input import Input
from tasks.passages.layout import KEY as PASSAGES
from tasks.plan.nodes import find_node_faults
from tasks.plan.plan import open_store
from tasks.processes import call_in_child
from tasks.store.files import staging_folder, storage_of
from tasks.store.objects.clouds.known import cloud_of

REINSTALL = f"uninstall it, then {INSTALL}"
TENSORRT = "predict.use_tensorrt"
NODES_SECONDS = 30.0
"""How long the doctor waits for a place on a cluster."""

NO_TENSORRT = "set `predict.use_tensorrt: false`"


def find_machine_faults(settings: Settings, config: Path | None = None) -> list[Finding]:
    """Return the faults of this machine, and of the places to write, that cheap checks find.

    `config` is the file that the settings come from; a run must not write over it.
    """
    predict = settings.predict
    # With a cluster, the GPUs and the memory are those of its nodes.
    is_here = predict.executor == "local"
    findings = [*_check_gpus(settings), *check_memory(settings)] if is_here else find_ray_faults()
    wants_tensorrt = is_here and predict.use_tensorrt and predict.device_kind == "gpu"
    return [
        *(find_package_faults(find_builds()) or find_paddlenlp_faults()),
        *(one for one in findings if one.severity == "fault"),
        *(find_tensorrt_faults() if wants_tensorrt else []),
        *find_place_faults(settings, config),
    ]


def diagnose(settings: Settings, config: Path | None = None) -> list[Finding]:
    """Return the findings of every check of a config and this machine, except Prefect's server."""
    faults = [
        *find_node_faults(settings, NODES_SECONDS),
        *find_config_faults(settings),
        *find_model_warnings(settings),
        *find_place_faults(settings, config),
        *check_deliveries(settings),
    ]
    named = {one.key for one in faults if one.severity != "ok"}
    is_here = settings.predict.executor == "local"
    probe = _probe_paddle()
    gpus = _check_gpus(settings) if is_here else examine_cluster(settings)
    if is_here and not any(one.severity == "fault" for one in gpus):
        gpus += _check_visibility(probe, settings)
    return [
        *_check_paddle(probe, settings),
        *faults,
        *check_folders(),
        *_describe(settings, named),
        *([] if PASSAGES in named else _describe_passages(settings)),
        *_check_faster_transformer(settings),
        *gpus,
        *([] if TENSORRT in named or not is_here else _check_tensorrt(probe, settings)),
        *(check_memory(settings) if is_here else []),
        *([] if "store.path" in named else [_check_store(settings), check_space(settings)]),
    ]


def _probe_paddle() -> PaddleProbe | list[Finding]:
    if plans_for_nodes():
        seen = f"{describe_paddle()}, with PaddleNLP {find_version('paddlenlp')}, of the nodes"
        return [Finding("paddle", seen, "", "ok"), *find_paddlenlp_faults()]
    if faults := find_package_faults(find_builds()):
        return faults
    try:
        return call_in_child(probe_paddle)
    except WentiError as error:
        return [Finding("paddle", f"Paddle cannot be imported: {error}", REINSTALL)]


def _check_paddle(probe: PaddleProbe | list[Finding], settings: Settings) -> list[Finding]:
    if isinstance(probe, list):
        return probe
    for_what = (
        "for the CPU" if probe.cuda is None else f"for CUDA {probe.cuda}, cuDNN {probe.cudnn}"
    )
    seen = f"{probe.version} {for_what}, with PaddleNLP {find_version('paddlenlp')}"
    severity: Severity = "fault" if settings.predict.device_kind == "gpu" else "warning"
    problems = [Finding("CUDA libraries", one, REINSTALL, severity) for one in probe.problems]
    return [Finding("paddle", seen, severity="ok"), *find_paddlenlp_faults(), *problems]


def _describe(settings: Settings, named: Set[str]) -> list[Finding]:
    """Return what the preflight has checked and found in order; `named` are the faulty keys."""
    describe = {
        "model.model_name_or_path": _describe_model,
        "export.engine": _describe_engine,
    }
    return [
        Finding(key, function(settings), severity="ok")
        for key, function in describe.items()
        if key not in named
    ]


def _describe_model(settings: Settings) -> str:
    name, folder = settings.model.model_name_or_path, existing_model(settings)
    if folder is None:
        return f"{name}, which the first run downloads"
    return f"{name}: {read_size(folder) or 'its config does not tell its size'}"


def _describe_passages(settings: Settings) -> list[Finding]:
    """Return which fields of which file are read, and whether there is a choice."""
    found = Input.of(settings.dataset)
    if found is None:
        dataset = settings.dataset
        seen = f"the {dataset.split} split of {dataset.dataset_name}, which the first run downloads"
        return [Finding(PASSAGES, seen, severity="ok")]
    if isinstance(found, Finding):
        return []  # a fault
    seen = f"{show_given(found.given)}, {megabytes(found.size)}: {found.describe()}"
    return [found.find_choice() or Finding(PASSAGES, seen, severity="ok")]


def _describe_engine(settings: Settings) -> str:
    return choose_engine(settings, existing_model(settings))


def _check_faster_transformer(settings: Settings) -> list[Finding]:
    """Return why `auto` does not choose FasterTransformer; empty unless it is `auto`, on a GPU."""
    folder = existing_model(settings)
    is_left_out = settings.export.engine == "auto" and (
        choose_engine(settings, folder) != FASTER_TRANSFORMER
    )
    if not is_left_out or settings.predict.device_kind == "cpu":
        return []
    reasons = find_faster_transformer_faults(settings, folder)
    return [
        Finding("FasterTransformer", f"not used ({one.key}): {one.problem}", one.remedy, "ok")
        for one in reasons
    ] or [
        Finding("FasterTransformer", "could be used", "set export.engine=faster_transformer", "ok")
    ]


def _check_gpus(settings: Settings) -> list[Finding]:
    predict = settings.predict
    if settings.export.engine == "fake":
        return []
    if predict.device_kind == "cpu":
        cores = len(os.sched_getaffinity(0))
        return [Finding("predict.device", f"cpu: {cores} cores for this process", severity="ok")]
    return check_devices(device_names(predict))


def _check_visibility(probe: PaddleProbe | list[Finding], settings: Settings) -> list[Finding]:
    """Check that Paddle sees the GPUs that the driver reports."""
    predict = settings.predict
    if isinstance(probe, list) or settings.export.engine == "fake" or predict.device_kind == "cpu":
        return []
    if probe.gpus > max(device_index(name) for name in device_names(predict)):
        return []
    problem = f"the driver reports these GPUs, but Paddle sees {probe.gpus}"
    return [Finding(KEY, problem, f"run nvidia-smi, restart the machine, {OR_CPU}")]


def _check_tensorrt(probe: PaddleProbe | list[Finding], settings: Settings) -> list[Finding]:
    if isinstance(probe, list) or not settings.predict.use_tensorrt:
        return []
    if not any(probe.tensorrt):
        problem = "this Paddle is built without TensorRT"
        return [Finding(TENSORRT, problem, f"install one that has it, or {NO_TENSORRT}")]
    built_for, here = (".".join(map(str, one)) for one in (probe.tensorrt, probe.tensorrt_here))
    if probe.tensorrt_here[:2] != probe.tensorrt[:2]:
        found = f"{here} is installed" if any(probe.tensorrt_here) else "none is installed"
        problem = f"this Paddle is built for TensorRT {built_for}, but {found}"
        remedy = f"install TensorRT {built_for} for CUDA {probe.cuda} from NVIDIA, or {NO_TENSORRT}"
        return [Finding(TENSORRT, problem, remedy)]
    return [Finding(TENSORRT, f"TensorRT {here}", severity="ok")]


def _check_store(settings: Settings) -> Finding:
    """Check that a file in the store can be written and locked; leave nothing behind."""
    root = open_store(settings).root
    if isinstance(root, ObjectPlace):
        return _check_bucket(root)
    try:
        with staging_folder(root) as folder, (folder / "probe").open("wb") as file:
            file.write(b"wenti")
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (StorageError, OSError) as error:
        return Finding("store.path", str(error), "choose a folder that you can write to")
    return Finding("store.path", f"{Path(root).absolute()} can be written", severity="ok")


def _check_bucket(root: ObjectPlace) -> Finding:
    """Check what a store in an object store needs; leave nothing behind."""
    try:
        storage_of(root).make_root(root)
    except UnusableError as error:
        return Finding("store.path", str(error), "docs/object-stores.md says what is needed")
    seen = f"{root} can be written, and its server honours conditions of PUTs"
    return Finding("store.path", seen, cloud_of(root).advice, "ok")
