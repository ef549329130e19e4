"""What a run was made from, according to its run.json; older ones contain less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.config.settings import Settings
from tasks.report.languages.texts import ENGLISH, Texts
from tasks.runs.record import RunRecord


@dataclass(frozen=True)
class Entry:
    """A line of the lineage; `is_code` values, such as paths, are shown in a monospaced font."""

    name: str
    value: str
    is_code: bool = False


@dataclass(frozen=True)
class ConfigKey:
    """A key of the config, its value and its default."""

    name: str
    value: object
    default: object

    @property
    def is_changed(self) -> bool:
        """Whether the value is not the default."""
        return self.value != self.default


def describe(
    record: RunRecord, signatures: Mapping[str, str | None], texts: Texts = ENGLISH
) -> dict[str, list[Entry]]:
    """Return the lineage of a run by section; what its record does not contain is left out.

    `signatures` say how metrics were computed, by name; None for those that were not.
    """
    parts = {
        "Run": _describe_run(record, texts),
        "Inputs": _describe_inputs(record, texts),
        "Checkpoints": _describe_checkpoints(record),
        "Versions": _describe_versions(record, texts),
        "Scores": (Entry(name, one, is_code=True) for name, one in signatures.items() if one),
    }
    return {title: entries for title, part in parts.items() if (entries := list(part))}


def list_config(record: RunRecord) -> dict[str, list[ConfigKey]]:
    """Return every key of the config, by section."""
    defaults = Settings().as_dict()
    return {
        section: [
            ConfigKey(name, value, defaults.get(section, {}).get(name))
            for name, value in keys.items()
        ]
        for section, keys in record.config.items()
    }


def _describe_run(record: RunRecord, texts: Texts) -> Iterator[Entry]:
    yield Entry("id", record.run_id, is_code=True)
    if record.config_file is not None:
        yield Entry(texts("config file"), record.config_file, is_code=True)
    if record.rerun_of is not None:
        yield Entry(texts("rerun of"), record.rerun_of, is_code=True)
    predict = record.config.get("predict")
    if predict:
        yield Entry(texts("device"), ", ".join(predict.get("devices") or [predict["device"]]))
        yield Entry(texts("precision"), predict["precision"])


def _describe_inputs(record: RunRecord, texts: Texts) -> Iterator[Entry]:
    passages = _decided(record, "dataset", "passages")
    if record.passages is not None:
        yield Entry(texts("passages"), record.passages, is_code=True)
    elif "dataset_name" in passages:
        values = {"name": passages["dataset_name"], "split": passages["split"]}
        yield Entry(texts("passages"), texts("%(name)s, %(split)s split", **values))
    if "files" in passages:
        yield Entry(texts("files of passages"), str(len(passages["files"])))
    if "sha256" in passages:
        yield Entry(texts("sha256 of the passages"), passages["sha256"], is_code=True)
    if record.model_folder is not None:
        yield Entry(texts("model"), record.model_folder, is_code=True)
    for name, digest in _decided(record, "export", "model").items():
        yield Entry(texts("sha256 of %(name)s", name=name), digest, is_code=True)


def _describe_checkpoints(record: RunRecord) -> Iterator[Entry]:
    for name, fingerprint in record.fingerprints.items():
        yield Entry(name, fingerprint, is_code=True)


def _describe_versions(record: RunRecord, texts: Texts) -> Iterator[Entry]:
    export = _decided(record, "export")
    if "engine" in export:
        values = {"engine": export["engine"], "version": export["engine_version"]}
        yield Entry(texts("engine"), texts("%(engine)s, version %(version)s", **values))
    if "paddlepaddle" in export:  # the value includes the package's name: for the CPU or the GPU
        name, _, version = export["paddlepaddle"].partition(" ")
        yield Entry(name, version)
    packages = {
        **record.versions,
        "paddlenlp": export.get("paddlenlp"),
        "pyarrow": _decided(record, "dataset").get("pyarrow"),
    }
    for name, version in packages.items():
        if version is not None:
            yield Entry(name, version)


def _decided(record: RunRecord, *keys: str) -> Mapping[str, Any]:
    """Return the value at a path of keys in `decided_by`; empty if there is none."""
    found: Mapping[str, Any] = record.decided_by or {}
    for key in keys:
        found = found.get(key, {})
    return found
