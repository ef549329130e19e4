"""What the parameters of a deployment's run may set: prefect.yaml decides, not the run's sender.

A deployment's `allow_overrides` lists the keys that a sender may set, in the form or otherwise:
whole sections, single keys, and `config`, which chooses another config by name. By default, these
are all keys but `GUARDED_KEYS`; a section does not include them, so they have to be named one by
one. The values of the other keys are those of prefect.yaml and of the config.

This is checked when a run starts, because Prefect's server checks parameters only if the sender
wants it to. Runs without a deployment, such as those of `wenti run`, may set everything.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tasks.config.loading import list_configs
from tasks.config.overrides import Overrides
from tasks.config.settings import GUARDED_KEYS, Settings
from tasks.errors import ConfigError
from tasks.findings import Finding

VARIABLE = "WENTI_DEPLOYMENTS"  # in the environment of the runs that `wenti serve` starts
CONFIG = "config"
SECTIONS: dict[str, tuple[str, ...]] = {
    section: tuple(f"{section}.{key}" for key in keys)
    for section, keys in Settings().as_dict().items()
}
ALL = (CONFIG, *SECTIONS)
KEYS = {CONFIG, *SECTIONS, *(key for keys in SECTIONS.values() for key in keys)}

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Permissions:
    """What prefect.yaml says of a deployment.

    Attributes:
        listed: its `allow_overrides`.
        given: the parameters that it sets: for all runs, then for those of each of its schedules.
    """

    listed: Sequence[str] = ALL
    given: Sequence[Parameters] = ({},)

    @property
    def keys(self) -> frozenset[str]:
        """The keys that a sender may set: `config` and those of sections, as `section.key`."""
        of_sections = (key for name in self.listed for key in SECTIONS.get(name, ()))
        by_name = (name for name in self.listed if name not in SECTIONS)
        return frozenset({*of_sections} - GUARDED_KEYS | {*by_name})

    def apply(self, config: str, overrides: Overrides) -> Overrides:
        """Return the overrides of a run, those that a sender may not set as prefect.yaml has them.

        Raises:
            ConfigError: the sender sets what it may not set.
        """
        sent = {CONFIG: config, **flatten(overrides)}
        known = [{CONFIG: one.get(CONFIG), **flatten(one.get("overrides"))} for one in self.given]
        if sent in known:
            return overrides
        base, settable = known[0], self.keys
        faults = [
            _refusal(key, value, base) if key in KEYS else _unknown(key)
            for key, value in sent.items()
            if key not in settable and not (key in base and value == base[key])
        ]
        if CONFIG in settable and config not in (*list_configs(), *(one[CONFIG] for one in known)):
            hint = f"known: {', '.join(list_configs()) or 'none'}"
            faults.append(Finding(CONFIG, f"{config!r} is not the name of a config", hint))
        if faults:
            raise _refused(faults)
        kept = {key: value for key, value in base.items() if key not in settable}
        return unflatten({**sent, **kept})

    def check_rerun(self, run: str, store: str, own_store: str) -> None:
        """Check the parameters of a rerun; `own_store` is the store if prefect.yaml names none.

        Raises:
            ConfigError: the sender names another store, or a run by its path.
        """
        faults = []
        stores = [one.get("store", own_store) for one in self.given]
        if "store.path" not in self.keys and store not in stores:
            faults.append(_refusal("store", store, {}))
        if PurePath(run).name != run and run not in [one.get("run") for one in self.given]:
            faults.append(Finding("run", f"{run!r} is a path", "give the id of a run in the store"))
        if faults:
            raise _refused(faults)


def permissions_of(one: Mapping[str, Any]) -> Permissions:
    """Return the permissions of a deployment in prefect.yaml; unknown keys are ignored."""
    parameters = one.get("parameters") or {}
    scheduled = [schedule.get("parameters") or {} for schedule in one.get("schedules") or []]
    given = [parameters, *({**parameters, **changes} for changes in scheduled if changes)]
    return Permissions(tuple(one.get("allow_overrides", ALL)), given)


def find_faults(one: Mapping[str, Any]) -> list[Finding]:
    """Return what is wrong with the `allow_overrides` of a deployment in prefect.yaml."""
    listed, where = one.get("allow_overrides", []), f"{one['name']}.allow_overrides"
    if not isinstance(listed, list):
        return [Finding(where, "it is not a list", "for example [config, dataset, decode.topk]")]
    return [
        Finding(where, f"there is no key {name!r}", _suggest(str(name)))
        for name in listed
        if not isinstance(name, str) or name not in KEYS
    ]


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, KEYS, n=1)
    return f"did you mean {near[0]}?" if near else f"sections: {', '.join(SECTIONS)}"


def as_variables(deployments: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """Return the environment variables by which runs know the deployments they belong to."""
    told = ("name", "parameters", "schedules", "allow_overrides")
    content = [{key: one[key] for key in told if key in one} for one in deployments]
    return {VARIABLE: json.dumps(content, default=str)}


def flatten(overrides: Overrides | None) -> dict[str, Any]:
    """Return values by section and key as values by `section.key`."""
    sections = (overrides or {}).items()
    return {f"{name}.{key}": value for name, part in sections for key, value in part.items()}


def unflatten(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return values by `section.key` as values by section and key; others are left out."""
    overrides: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, dot, key = name.partition(".")
        if dot:
            overrides.setdefault(section, {})[key] = value
    return overrides


def _unknown(key: str) -> Finding:
    return Finding(key, "there is no such key", _suggest(key))


def _refusal(key: str, value: object, base: Mapping[str, Any]) -> Finding:
    known = f"it is {base[key]!r} there" if key in base else "name it in its `allow_overrides`"
    return Finding(key, f"a run may not set it ({value!r}); prefect.yaml decides it", known)


def _refused(faults: Sequence[Finding]) -> ConfigError:
    return ConfigError("the parameters of this run", faults)
