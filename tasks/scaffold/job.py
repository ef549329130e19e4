"""A new job: `configs/NAME.yaml` and `prefect.yaml` in the working folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tasks.config.loading import CONFIGS, make_settings
from tasks.config.paths import model_folder, with_date
from tasks.config.settings import Settings
from tasks.doctor.preflight import find_config_faults
from tasks.engine.gpu.driver import probe_gpus, visible_here
from tasks.engine.models.config import read_config
from tasks.environment import find_write_error
from tasks.errors import DeviceError, InputError, PreflightError, StorageError
from tasks.passages.layout import NamesFault
from tasks.scaffold.sample import Sample, look_at
from tasks.scaffold.texts import write_config, write_deployments
from tasks.store.files import commit_file
from tasks.system_errors import find_cause

PREFECT_YAML = Path("prefect.yaml")
RERUN = "rerun"  # the deployment that is written beside that of the config
SOURCE = "wenti init"
_NAME = re.compile(r"\w[\w.-]*")  # what a file, a shell and Prefect take as it is


@dataclass(frozen=True)
class Job:
    """A new job.

    Attributes:
        name: of its config and its deployment.
        settings: what its config says.
        sample: what its passages are like; None if they are not known yet.
    """

    name: str
    settings: Settings
    sample: Sample | None = None

    @property
    def config(self) -> Path:
        """The path of its config."""
        return _config_of(self.name)

    def write(self) -> list[Path]:
        """Write its config, and prefect.yaml unless there is one; return what was written.

        Raises:
            StorageError: the folder cannot be written.
        """
        texts = {self.config: write_config(self.name, self.settings, self.sample)}
        if not os.path.lexists(PREFECT_YAML):  # also a link that leads nowhere
            texts[PREFECT_YAML] = write_deployments(self.name)
        for path, text in texts.items():
            _write(path, text)
        return list(texts)


def plan_job(name: str, data: str | None, model: str | None, day: date) -> Job:
    """Return a new job after a look at its passages and its model, if given; writes nothing.

    `day` is what `{date}` in their paths stands for.

    Raises:
        ConfigError: a path cannot be one.
        InputError: the name is taken or cannot be one, or the passages cannot be read.
        StorageError: files cannot be made in this folder.
        PreflightError: the model cannot be used; lists everything.
    """
    _check_folder()
    if not _NAME.fullmatch(name) or name.endswith((".yaml", ".yml")):
        raise InputError(f"{name!r} cannot be the name of a config: use letters, digits, - and _")
    if name == RERUN:
        raise InputError(f"{name!r} is the name of another deployment; choose another name")
    if os.path.lexists(_config_of(name)):
        raise InputError(f"{_config_of(name)} exists; choose another name: wenti init NAME")
    raw: dict[str, dict[str, Any]] = {
        "model": {} if model is None else {"model_name_or_path": model},
        "dataset": {} if data is None else {"predict_file": data},
        "predict": _predict_here(),
    }
    settings = make_settings(raw, SOURCE)
    today = with_date(settings, day)
    sample = None if data is None else look_at(today.dataset)
    if sample is not None and sample.encoding is not None:
        raw["dataset"]["encoding"] = sample.encoding
    if sample is not None and sample.is_usable and sample.fields:
        raw["dataset"]["fields"] = dict(sample.fields)
    raw["dataset"]["max_seq_len"] = _longest_row(today)
    settings = make_settings(raw, SOURCE)
    _check(with_date(settings, day))
    return Job(name, settings, sample)


def _check_folder() -> None:
    """Check that the files can be written into this folder, and `configs` in it."""
    folders = [Path.cwd(), Path.cwd() / CONFIGS]
    for folder in (one for one in folders if os.path.lexists(one)):
        if (error := find_write_error(folder)) is not None:
            problem, _ = find_cause(error)
            remedy = "start `wenti init` in a folder that you can write to"
            raise StorageError(f"{folder} cannot be written: {problem}; {remedy}")


def _check(settings: Settings) -> None:
    """Check what the settings name; fields that are not found yet are left to the user."""
    found = find_config_faults(settings)
    if faults := [fault for fault in found if not isinstance(fault, NamesFault)]:
        raise PreflightError(SOURCE, faults)


def _longest_row(settings: Settings) -> int:
    """Return the default of `max_seq_len`, or less if the model has fewer positions."""
    usual, folder = settings.dataset.max_seq_len, model_folder(settings.model)
    positions = None if folder is None else read_config(folder).max_position_embeddings
    return usual if positions is None else min(usual, positions + 1)  # the start token takes none


def _predict_here() -> dict[str, Any]:
    """Return the section `predict` for this machine."""
    try:
        has_gpu = bool(visible_here(probe_gpus()))
    except DeviceError:
        has_gpu = False
    threads = len(os.sched_getaffinity(0))
    return {"device": "gpu"} if has_gpu else {"device": "cpu", "cpu_threads": threads}


def _config_of(name: str) -> Path:
    return Path(CONFIGS, f"{name}.yaml")


def _write(path: Path, text: str) -> None:
    def write(place: Path) -> None:
        place.write_text(text, encoding="utf-8")

    commit_file(path, write)
