"""How files of passages are divided into groups of consecutive files.

The division decides the parts of a dataset, so it depends on the files only, and not on the
machine: all machines make the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import InputError
from tasks.findings import Finding
from tasks.load.dataset import LoadRequest
from tasks.passages.files import find_files
from tasks.passages.finding.file import InputFile
from tasks.passages.input import Input, ReadableFile

GROUP_BYTES = 1 << 26
"""Of files, compressed ones as they are: of JSON lines, ten seconds of tokenizing. A process starts
in half a second, and does one group after the other."""


@dataclass(frozen=True)
class Group:
    """Consecutive files.

    Attributes:
        number: of the group, from 0.
        files: those that have rows, in order; maybe none.
    """

    number: int
    files: tuple[ReadableFile, ...]


def divide(sizes: Sequence[int]) -> list[range]:
    """Return the positions of the files of each group; `sizes` are those of the files in bytes.

    A group ends with the file that makes it `GROUP_BYTES` or more; the last one may be smaller.
    """
    groups, start, size = list[range](), 0, 0
    for end, one in enumerate(sizes, 1):
        size += one
        if size >= GROUP_BYTES or end == len(sizes):
            groups.append(range(start, end))
            start, size = end, 0
    return groups


def find_groups(request: LoadRequest) -> list[Group]:
    """Return the groups of what a request names; none if it is to be loaded in one pass.

    That is a single file, a named data set, what is small, and what has a limit of rows.

    Raises:
        InputError: a file cannot be read, as `read_passages` says it.
        ObjectStoreError: an object store does not answer.
    """
    if request.predict_file is None or request.limit is not None:
        return []
    files = find_files(request.predict_file)
    if isinstance(files, Finding):
        raise InputError(str(files))
    division = divide(_measure(files))
    if len(division) < 2:
        return []
    found = Input.find(
        request.predict_file,
        request.template,
        request.encoding,
        request.fields,
        request.format,
        request.delimiter,
    )
    if isinstance(found, Finding):
        raise InputError(str(found))
    return [
        Group(number, tuple((files[at], found.layouts[at]) for at in some if at in found.layouts))
        for number, some in enumerate(division)
    ]


def _measure(files: Sequence[InputFile]) -> list[int]:
    """Return the sizes of files; that of one that is not there is 0, because reading it fails."""
    return [file.path.stat().st_size if file.path.exists() else 0 for file in files]
