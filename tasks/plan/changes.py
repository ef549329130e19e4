"""What changed since the previous run: the stages affected, the keys, and the consequences.

Both sides are `tasks.plan.plan.Plan.decided_by`, which run.json keeps: for `export`, `dataset` and
`predictions`, the values that the fingerprint is computed from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.store.manifest import canonical_json

DecidedBy = Mapping[str, Mapping[str, Any]]
_Path = tuple[str, ...]
_Values = Mapping[_Path, object]
_Outcomes = Mapping[tuple[bool, bool], str]  # by whether it changed, and whether the store has it

_WHOLE: _Outcomes = {
    (True, True): "found in the store",
    (True, False): "remade",
    (False, True): "reused",
    (False, False): "not in the store, made now",
}
_IN_SHARDS: _Outcomes = {
    (True, True): "shards in the store are reused, the others are made",
    (True, False): "every shard is remade",
    (False, True): "shards in the store are reused, the others are made",
    (False, False): "not in the store, every shard is made",
}


@dataclass(frozen=True)
class _Stage:
    """How the values of a stage are described to a user.

    Attributes:
        name: the name of the stage.
        section: the config section of its values.
        names: descriptions of values that are not a key of `section`.
        contents: descriptions of files; only their sha256 is known, which is not shown.
        outcomes: what a run does, by whether the stage changed and whether the store has it.
    """

    name: str
    section: str
    names: Mapping[str, str]
    contents: Mapping[str, str]
    outcomes: _Outcomes


_STAGES = {
    "export": _Stage(
        name="export",
        section="export",
        names={
            "format": "Wenti's own format of exported models",
            "engine_version": "the version of the engine",
            "half_version": "the version of half precision",
            "tensorrt.version": "the version of the preparation for TensorRT",
            "tensorrt.rows": "predict.batch_size for TensorRT",
            "tensorrt.tokens": "dataset.max_seq_len for TensorRT",
            "tensorrt.most_tokens": "predict.max_tokens_per_batch for TensorRT",
        },
        contents={"model": "model file"},
        outcomes=_WHOLE,
    ),
    "dataset": _Stage(
        name="load",
        section="dataset",
        names={
            "format": "Wenti's own format of datasets",
            "passages.dataset_name": "dataset.dataset_name",
            "passages.split": "dataset.split",
            "passages.kind": "the kind of dataset.predict_file",
            "passages.format": "the format of dataset.predict_file",
            "passages.encoding": "dataset.encoding",
            "passages.delimiter": "dataset.delimiter",
            "passages.several": "the reading of several answers",
            **{
                f"passages.fields.{role}": f"the field read as {role}"
                for role in ("context", "answer", "reference", "id")
            },
        },
        contents={
            "passages.sha256": "the content of dataset.predict_file",
            "passages.files": "file of passages",
            "passages.order": "the order of dataset.predict_file",
            "passages.columns": "the names of the folders of dataset.predict_file",
            "tokenizer": "tokenizer file",
        },
        outcomes=_WHOLE,
    ),
    "predictions": _Stage(
        name="predict",
        section="predict",
        names={
            "format": "Wenti's own format of shards",
            "rows_per_shard": "shards.rows_per_shard",
        },
        contents={"export": "export", "dataset": "load"},
        outcomes=_IN_SHARDS,
    ),
}
_PASSAGES = {("passages", name) for name in ("sha256", "files", "order", "columns")}
_WHOLE_VALUES = {("passages", "columns")}  # not told value by value
_FILES_SHOWN = 3
_PACKAGES = {"paddlepaddle": "Paddle", "paddlenlp": "PaddleNLP", "pyarrow": "PyArrow"}


@dataclass(frozen=True)
class StageChange:
    """What changed for one stage.

    Attributes:
        stage: `export`, `load` or `predict`.
        causes: a short description of each value that differs; empty if none does.
        outcome: what a run does about it, in words.
    """

    stage: str
    causes: tuple[str, ...]
    outcome: str

    def __str__(self) -> str:
        """Return the change on one line."""
        return f"{self.stage}: {', '.join(self.causes) or 'unchanged'}: {self.outcome}"


def find_keep_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how `aggregate.keep` differs in two configs, which no fingerprint tells."""
    was, is_now = (_show_keep(config.get("aggregate", {}).get("keep")) for config in (before, now))
    return [] if was == is_now else [f"aggregate: aggregate.keep was {was} and is {is_now}"]


def _show_keep(keep: object) -> str:
    found = keep if isinstance(keep, Mapping) else {}
    rules = {name: value for name, value in found.items() if value is not None}
    told = (f"{name}: {str(value).lower()}" for name, value in rules.items())
    return f"{{{', '.join(told)}}}" if rules else "null"


def find_changes(
    before: DecidedBy,
    now: DecidedBy,
    is_there: Mapping[str, bool],
    files: tuple[str | None, str | None] = (None, None),
) -> list[StageChange]:
    """Return the change of every stage; empty if nothing changed at all.

    Args:
        before: what decided the previous run.
        now: what decides this run.
        is_there: for `export`, `dataset` and `predictions`, whether the store has the checkpoint of
            `now`; for `predictions`, whether it has any shard.
        files: `dataset.predict_file` before and now. Not its name but its content decides a stage;
            but another name explains another content.
    """
    causes = {
        part: tuple(_causes(stage, before.get(part, {}), now[part], files))
        for part, stage in _STAGES.items()
    }
    if not any(causes.values()):
        return []
    return [
        StageChange(stage.name, causes[part], stage.outcomes[bool(causes[part]), is_there[part]])
        for part, stage in _STAGES.items()
    ]


def find_option_changes(before: DecidedBy, now: DecidedBy) -> list[str]:
    """Return what changed but the passages: model, options and versions, a sentence per stage.

    Nothing if an older version of Wenti made one of the runs and did not record it.
    """
    if not all(set(_STAGES) <= set(decided) for decided in (before, now)):
        return []
    ours, others = map(_without_passages, (before, now))
    changes = find_changes(ours, others, dict.fromkeys(_STAGES, False))
    return [f"{one.stage}: {', '.join(one.causes)}" for one in changes if one.causes]


def _without_passages(decided: DecidedBy) -> DecidedBy:
    """Return what decides a run without the content of the passages and what follows from it."""
    dataset, predictions = decided["dataset"], decided["predictions"]
    passages = dataset.get("passages")
    passages = passages if isinstance(passages, Mapping) else {}
    contents = {name for _passages, name in _PASSAGES}
    kept = {name: value for name, value in passages.items() if name not in contents}
    return {
        "export": decided["export"],
        "dataset": {**dataset, "passages": kept},
        "predictions": {
            name: value for name, value in predictions.items() if name not in ("export", "dataset")
        },
    }


def _causes(
    stage: _Stage, before: object, now: object, files: tuple[str | None, str | None]
) -> Iterator[str]:
    """Yield a short description of each value that makes the fingerprints differ."""
    old, new = _values(before), _values(now)
    paths = [
        path
        for path in dict.fromkeys([*new, *old])
        if (path in old) != (path in new) or canonical_json(old[path]) != canonical_json(new[path])
    ]
    contents = [path for path in paths if path[:2] in _PASSAGES]
    listed = [path for path in contents if len(path) > 2]
    is_renamed = None not in files and files[0] != files[1]
    if contents and is_renamed:
        yield f"dataset.predict_file was {files[0]} and is {files[1]}"
    hidden = contents if is_renamed else listed[_FILES_SHOWN:]
    yield from (_cause(stage, path, old, new) for path in paths if path not in hidden)
    if hidden and not is_renamed:
        yield f"{len(hidden)} more files of passages"


def _cause(stage: _Stage, path: _Path, old: _Values, new: _Values) -> str:
    content = _content(stage, path)
    if content is not None:
        is_file = ".".join(path) not in stage.contents
        how = "is new" if path not in old else "is gone" if path not in new else "changed"
        return f"{content} {how if is_file else 'changed'}"
    return f"{_name(stage, path)} was {_show(path, old)} and is {_show(path, new)}"


def _values(value: object, path: _Path = ()) -> _Values:
    """Return the nested values of `value` by their paths, those of `_WHOLE_VALUES` as one."""
    if not isinstance(value, Mapping) or path in _WHOLE_VALUES:
        return {path: value}
    return {
        below: one
        for key, inner in value.items()
        for below, one in _values(inner, (*path, key)).items()
    }


def _content(stage: _Stage, path: _Path) -> str | None:
    """Return the description of the file that a sha256 is of; None if the value is not a sha256."""
    of_folder = stage.contents.get(".".join(path[:-1]))
    return stage.contents.get(".".join(path)) if of_folder is None else f"{of_folder} {path[-1]}"


def _name(stage: _Stage, path: _Path) -> str:
    key = ".".join(path)
    if path[:1] == ("decode",):  # a section of its own
        return key
    return stage.names.get(key) or _PACKAGES.get(key) or f"{stage.section}.{key}"


def _show(path: _Path, values: _Values) -> str:
    if path not in values:
        return "not used"
    value = values[path]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
