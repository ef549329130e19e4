"""A file of passages, and how what the config names is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from urllib.parse import unquote

from tasks.addresses import ObjectPlace
from tasks.escaping import encodable, shorten_list
from tasks.findings import Finding
from tasks.passages.layout import KEY
from tasks.store.tables import HIVE_NULL

Given = PurePath | tuple[PurePath, ...]
"""What the config names: a path, an address or a pattern of them, or several of these."""


@dataclass(frozen=True)
class InputFile:
    """A file of passages.

    Attributes:
        path: where it can be read; of an object, a copy on this machine.
        name: its path relative to the folder of all files, with slashes; None for a file that is
            named by itself.
        columns: the columns that its folders have in their names, such as `dt=2026-11-28`.
        address: of the object; None for a file of this machine.
    """

    path: Path
    name: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    address: ObjectPlace | None = None

    @property
    def place(self) -> PurePath:
        """Where it is: its path, or the address of the object."""
        return self.address or self.path


def entries_of(given: Given) -> tuple[PurePath, ...]:
    """Return the paths and patterns that the config names."""
    return given if isinstance(given, tuple) else (given,)


def show_given(given: Given) -> str:
    """Return what the config names for messages: absolute, and a long list shortened."""
    return shorten_list([*map(show_path, entries_of(given))])


def show_path(path: PurePath) -> str:
    """Return a path for messages: absolute, and without `..`; its last part is as given.

    Bytes of it that are not UTF-8 are shown as escapes.
    """
    if isinstance(path, ObjectPlace):
        return str(path)
    if path.name in {"", ".."}:
        return encodable(os.path.realpath(path))
    return encodable(str(Path(os.path.realpath(path.parent), path.name)))


def columns_of(folder: PurePath) -> dict[str, str | None]:
    """Return the columns in the names of a folder and those above, as Hive and Spark write them."""
    pairs = (part.split("=", 1) for part in folder.parts if part.find("=") > 0)
    return {unquote(name): None if value == HIVE_NULL else unquote(value) for name, value in pairs}


def find_name_fault(file: InputFile) -> Finding | None:
    """Return the fault of a name that is no text: it could not be written into a table."""
    texts = (file.name or "", *file.columns, *(value or "" for value in file.columns.values()))
    if all(text == encodable(text) for text in texts):
        return None
    return Finding(KEY, f"{show_path(file.place)}: its name is not UTF-8", "rename it")
