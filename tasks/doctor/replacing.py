"""A file that a command writes for its user, which replaces one of its own kind and no other."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from tasks.addresses import ObjectPlace
from tasks.doctor.outputs import find_address_fault
from tasks.doctor.paths import find_file_faults
from tasks.errors import PreflightError
from tasks.findings import Finding
from tasks.store.objects.connection import open_storage

MOST_BYTES = 256  # of a file's beginning


def check_replacing(key: str, path: PurePath, store: PurePath, kind: str, beginning: str) -> None:
    """Check that a file can be written; one that is there must be empty, or of the same kind.

    Args:
        key: the option that names the file.
        path: the file, or its address.
        store: the folder of the store, which it must not be in.
        kind: what the command writes, such as `CSV`.
        beginning: a regular expression for the first bytes of such a file, in UTF-8.

    Raises:
        PreflightError: says what is wrong with the place.
        StorageError: the object store cannot be read.
    """
    if isinstance(path, ObjectPlace):
        faults = _find_object_faults(key, path, store)
        start = b"" if faults else open_storage(path).files.read(path, MOST_BYTES)
    else:
        faults = find_file_faults(key, Path(path), store)
        start = b"" if faults else _read_start(Path(path))
    text = start.decode(errors="replace")
    if text and not re.match(beginning, text):
        problem = f"{path} is there, and this command did not write it as {kind}"
        faults = [Finding(key, problem, "move it, or give another path")]
    if faults:
        raise PreflightError(str(path), faults)


def _find_object_faults(key: str, place: ObjectPlace, store: PurePath) -> list[Finding]:
    fault = find_address_fault(key, place, store)
    return [] if fault is None else [fault]


def _read_start(path: Path) -> bytes:
    """Return the first bytes of a file; none if there is no file."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(MOST_BYTES)
