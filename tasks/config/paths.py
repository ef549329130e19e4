"""Paths in the settings: made absolute, and `{date}` in them replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tasks.addresses import is_address
from tasks.config.dates import replace_templates
from tasks.config.settings import ModelSettings, Settings
from tasks.errors import ConfigError
from tasks.findings import Finding

PATHS = (
    ("store", "path"),
    ("store", "cache"),
    ("dataset", "predict_file"),
    ("export", "inference_model_dir"),
    ("export", "decoding_lib"),
    ("aggregate", "output_path"),
    ("aggregate", "output_folder"),
)
MODEL = ("model", "model_name_or_path")
URL = ("store", "url")


def model_folder(model: ModelSettings) -> Path | None:
    """Return the folder that `model_name_or_path` means; None for the name of a model.

    A name may have the form `org/name`, which is a folder if there is one or its parent exists.
    """
    name, path = model.model_name_or_path, Path(model.model_name_or_path)
    is_written_as_path = name.startswith((".", "/"))
    is_folder = is_written_as_path or path.exists() or ("/" in name and path.parent.is_dir())
    return path if is_folder else None


def with_absolute_paths(settings: Settings) -> Settings:
    """Return the settings with every path absolute, relative ones resolved here and now."""

    def absolute(path: str) -> str:
        return path if is_address(path) else str(Path(path).absolute())

    model = absolute if model_folder(settings.model) else str  # a model to download is no path
    return _changed(settings, {**dict.fromkeys(PATHS, absolute), MODEL: model})


def with_date(settings: Settings, day: date) -> Settings:
    """Return the settings with `{date}` in every path, and in the store's URL, replaced by a day.

    Raises:
        ConfigError: a template means a day that is not in the calendar.
    """

    def dated(text: str) -> str:
        return replace_templates(text, day)

    try:
        return _changed(settings, dict.fromkeys((*PATHS, MODEL, URL), dated))
    except OverflowError as error:
        fault = Finding("{date}", f"the calendar ends before the day that is meant on {day}")
        raise ConfigError("the config", [fault]) from error


def _changed(
    settings: Settings, changes: Mapping[tuple[str, str], Callable[[str], str]]
) -> Settings:
    """Return the settings with some texts, or lists of texts, changed; null stays null."""
    sections: dict[str, Any] = {name: {} for name, _key in changes}
    for (name, key), change in changes.items():
        value = getattr(getattr(settings, name), key)
        if isinstance(value, list):
            sections[name][key] = list(map(change, value))
        else:
            sections[name][key] = None if value is None else change(value)
    updated = {
        name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()
    }
    return settings.model_copy(update=updated)
