"""What a run was made from, as its run.json has kept it; older ones have kept less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.config.settings import Settings

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """A line of the lineage; `is_code` if it is for machines too, as a path or a fingerprint."""

    name: str
    value: str
    is_code: bool = False


@dataclass(frozen=True)
class Key:
    """A key of the config, its value and its default."""

    name: str
    value: object
    default: object

    @property
    def is_changed(self) -> bool:
        """Whether it is not the default."""
        return self.value != self.default


def describe(record: Record, signatures: Mapping[str, str | None]) -> dict[str, list[Fact]]:
    """Give the lineage of a run, by its parts; what was not kept is left out.

    `signatures` tell how scores were computed; None: they were not.
    """
    parts = {
        "Run": _describe_run(record),
        "Inputs": _describe_inputs(record),
        "Checkpoints": _describe_checkpoints(record),
        "Versions": _describe_versions(record),
        "Scores": (Fact(name, one, is_code=True) for name, one in signatures.items() if one),
    }
    return {title: facts for title, found in parts.items() if (facts := list(found))}


def list_config(record: Record) -> dict[str, list[Key]]:
    """Give every key of the config, by section."""
    defaults = Settings().as_dict()
    return {
        section: [
            Key(name, value, defaults.get(section, {}).get(name)) for name, value in keys.items()
        ]
        for section, keys in _inside(record, "config").items()
    }


def is_made_up(record: Record) -> bool:
    """Tell whether the fake engine made the questions."""
    return _inside(record, "decided_by", "export").get("engine") == "fake"


def _describe_run(record: Record) -> Iterator[Fact]:
    names = {"run_id": "id", "config_file": "config file", "rerun_of": "rerun of"}
    for key, name in names.items():
        if record.get(key) is not None:
            yield Fact(name, record[key], is_code=True)
    predict = _inside(record, "config", "predict")
    if predict:
        yield Fact("device", ", ".join(predict.get("devices") or [predict["device"]]))
        yield Fact("precision", predict["precision"])


def _describe_inputs(record: Record) -> Iterator[Fact]:
    passages = _inside(record, "decided_by", "dataset", "passages")
    path = _inside(record, "config", "dataset").get("predict_file")
    if path is not None:
        yield Fact("passages", path, is_code=True)
    elif "dataset_name" in passages:
        yield Fact("passages", f"{passages['dataset_name']}, {passages['split']} split")
    if "sha256" in passages:
        yield Fact("sha256 of the passages", passages["sha256"], is_code=True)
    if "model_folder" in record:
        yield Fact("model", record["model_folder"], is_code=True)
    for name, digest in _inside(record, "decided_by", "export", "model").items():
        yield Fact(f"sha256 of {name}", digest, is_code=True)


def _describe_checkpoints(record: Record) -> Iterator[Fact]:
    for name in ("export", "dataset", "predictions"):
        if name in record:
            yield Fact(name, record[name], is_code=True)


def _describe_versions(record: Record) -> Iterator[Fact]:
    export = _inside(record, "decided_by", "export")
    if "engine" in export:
        yield Fact("engine", f"{export['engine']}, version {export['engine_version']}")
    if "paddlepaddle" in export:  # the name of the package is in it: for the CPU or the GPU
        name, _, version = export["paddlepaddle"].partition(" ")
        yield Fact(name, version)
    packages = {
        **_inside(record, "versions"),
        "paddlenlp": export.get("paddlenlp"),
        "pyarrow": _inside(record, "decided_by", "dataset").get("pyarrow"),
    }
    for name, version in packages.items():
        if version is not None:
            yield Fact(name, version)


def _inside(record: Record, *keys: str) -> Record:
    """Give what is below some keys, nothing if they are not there."""
    found = record
    for key in keys:
        found = found.get(key, {})
    return found
