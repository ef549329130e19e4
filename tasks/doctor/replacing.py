"""A file that a command writes for its user, which replaces one of its own kind and no other."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from tasks.doctor.paths import find_file_faults
from tasks.errors import PreflightError
from tasks.findings import Finding

MOST_BYTES = 256  # of a file's beginning


def check_replacing(key: str, path: Path, store: PurePath, kind: str, beginning: str) -> None:
    """Check that a file can be written; one that is there must be empty, or of the same kind.

    Args:
        key: the option that names the file.
        path: the file.
        store: the folder of the store, which it must not be in.
        kind: what the command writes, such as `CSV`.
        beginning: a regular expression for the first bytes of such a file, in UTF-8.

    Raises:
        PreflightError: says what is wrong with the place.
    """
    faults = find_file_faults(key, path, store)
    if not faults and path.exists() and not _begins_with(beginning, path):
        problem = f"{path} is there, and this command did not write it as {kind}"
        faults = [Finding(key, problem, "move it, or give another path")]
    if faults:
        raise PreflightError(str(path), faults)


def _begins_with(beginning: str, path: Path) -> bool:
    """Return whether a file is empty, or begins so."""
    with path.open("rb") as file:
        text = file.read(MOST_BYTES).decode(errors="replace")
    return not text or re.match(beginning, text) is not None
