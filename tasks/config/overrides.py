"""Overrides of a config: `section.key=value` from the command line, or values by section."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tasks.config.describe import types_of
from tasks.findings import Finding

Overrides = Mapping[str, Mapping[str, Any]]
"""Values by section and key that take precedence over the config file."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,100}")  # Python refuses to read 4,300 digits and more
_MERGE = "tag:yaml.org,2002:merge"  # `<<`, of which a mapping may have several
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

EXTENDS = "extends"
OF_A_FILE = "write it in the first line of a config file, which then starts from another"
"""What to do about `extends` in an override, which sets keys of sections."""


def parse_overrides(texts: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Return the values of `section.key=value` strings, and the faults of malformed ones.

    The last value of a key wins.
    """
    values: dict[str, dict[str, Any]] = {}
    faults = [fault for text in texts if (fault := _parse(text, values))]
    return values, faults


def apply_overrides(raw: dict[str, Any], overrides: Overrides) -> None:
    """Put values into a parsed config, in place; what is not a section is left as a fault."""
    for section, values in overrides.items():
        target = raw.get(section)
        if not isinstance(values, Mapping):
            raw[section] = values
            continue
        if target is None:
            target = raw[section] = {}
        if isinstance(target, dict):
            merge(target, values)


def merge(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put values into a mapping, in place; the keys of a value that is a mapping, one by one."""
    for key, value in values.items():
        known = target.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            merge(known, value)
        else:
            target[key] = value


def parse_yaml(text: str) -> object:
    """Return the value of a YAML text.

    Raises:
        ValueError: it is not YAML, a value such as a date of 30 February cannot be, or a mapping
            has keys twice; says why on one line.
    """
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if loader.repeated:
        raise ValueError("; ".join(loader.repeated))
    return value


class _Loader(yaml.SafeLoader):
    """Finds the keys that a mapping has twice, of which PyYAML silently takes the last one.

    Attributes:
        repeated: says of each which one it is, and on which lines.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 as in PyYAML
        """Return a mapping as it is written, before the keys of another one are merged into it."""
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _value in node.value if isinstance(key, yaml.ScalarNode)]
        lines: dict[tuple[str, str], list[int]] = {}
        for key in keys:
            if key.tag != _MERGE:
                lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
        self.repeated += [
            f"the key {name} is repeated (lines {', '.join(map(str, places))})"
            for (_tag, name), places in lines.items()
            if len(places) > 1
        ]
        return node


def _parse(text: str, values: dict[str, dict[str, Any]]) -> Finding | None:
    key_path, separator, value_text = text.partition("=")
    section, dot, key = key_path.strip().partition(".")
    if section == EXTENDS:
        return Finding(f"--set {text}", "no key of a section", OF_A_FILE)
    if not (separator and dot and section and key):
        return Finding(
            f"--set {text}", "not of the form section.key=value", "for example decode.topk=4"
        )
    first, *deeper = key.split(".")
    types = types_of((section, first, *deeper))
    try:
        value = _read_value(value_text, types)
    except ValueError as error:
        if types:
            remedy = "a list is written as [gpu:0, gpu:1]"
            return Finding(f"--set {text}", f"the value is not YAML: {error}", remedy)
        value = value_text  # there is no such key, which is the fault to report
    for name in reversed(deeper):
        value = {name: value}
    merge(values.setdefault(section, {}), {first: value})
    return None


def _read_value(text: str, types: frozenset[str]) -> object:
    """Return the value that a text means for a key of these JSON types.

    Texts and paths are taken as they are: YAML would cut them at ` #`, and read `a: b` as a
    mapping. Where a list is allowed, too, brackets make one. Numbers are decimal: YAML would read
    010 as 8, 1:30 as 90 and 1e-3 as a text.

    Raises:
        ValueError: it is not YAML, which is read for lists, mappings and booleans only.
    """
    stripped = text.strip()
    if "null" in types and stripped == "null":
        return None
    is_list = "array" in types and stripped.startswith("[") and stripped.endswith("]")
    if "string" in types and not is_list:
        return text
    if types & {"integer", "number"}:
        if _WHOLE.fullmatch(stripped):
            return int(stripped)
        return float(stripped) if _DECIMAL.fullmatch(stripped) else text
    value = parse_yaml(text)
    return text if "boolean" in types and not isinstance(value, bool) else value
