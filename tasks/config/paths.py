"""Paths in the settings: made absolute, and `{date}` in them replaced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

from tasks.config.settings import ModelSettings, Settings

DAY = "{date}"


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
    return _with_paths(settings, lambda path: str(Path(path).absolute()))


def with_date(settings: Settings, day: date) -> Settings:
    """Return the settings with `{date}` in every path replaced, by 2026-11-23 for example."""
    return _with_paths(settings, lambda path: path.replace(DAY, day.isoformat()))


def _with_paths(settings: Settings, change: Callable[[str], str]) -> Settings:
    """Apply `change` to every path; the name of a model to download is not a path."""

    def changed(path: str | None) -> str | None:
        return None if path is None else change(path)

    name = settings.model.model_name_or_path
    changes: dict[str, dict[str, str | None]] = {
        "store": {"path": change(settings.store.path)},
        "model": {"model_name_or_path": change(name) if model_folder(settings.model) else name},
        "dataset": {"predict_file": changed(settings.dataset.predict_file)},
        "export": {
            "inference_model_dir": changed(settings.export.inference_model_dir),
            "decoding_lib": changed(settings.export.decoding_lib),
        },
        "aggregate": {"output_path": changed(settings.aggregate.output_path)},
    }
    sections = {
        name: getattr(settings, name).model_copy(update=change) for name, change in changes.items()
    }
    return settings.model_copy(update=sections)
