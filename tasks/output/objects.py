"""A data set in an object store, replaced by the files of a folder on this machine.

Objects cannot be replaced together, so the old `_SUCCESS` goes first and the new one comes last;
without it, the data set is being written. `_WRITING` stands there meanwhile and lists the old files
and the new ones: if the process is killed, the next run knows them and replaces them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
from tasks.output.marks import HIDDEN, MARKS, as_mark, find_known, find_unknown, list_files
from tasks.store.objects.connection import open_storage
from tasks.store.objects.files import ObjectFiles

WRITING = "_WRITING"


@contextmanager
def replaced_objects(place: ObjectPlace) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, its files are put at `place`.

    One of them is a mark. `HIDDEN` at the end of names is left out.

    Raises:
        StorageError: it cannot be written, another run writes it, or `place` holds files that
            Wenti did not write.
    """
    storage = open_storage(place)
    with storage.stage(place) as folder:
        yield folder
        new = {name.removesuffix(HIDDEN): folder / name for name in list_files(folder)}
        _replace(storage.files, place, new)


def find_foreign_object(files: ObjectFiles, place: ObjectPlace) -> str | None:
    """Return the name of an object below a place that Wenti did not write; None if there is none.

    Raises:
        StorageError: it cannot be read.
    """
    names = _names_below(files, place)
    return find_unknown(names, _read_marks(files, place, names))


def _replace(files: ObjectFiles, place: ObjectPlace, new: Mapping[str, Path]) -> None:
    there = _names_below(files, place)
    marks = _read_marks(files, place, there)
    if (found := find_unknown(there, marks)) is not None:
        raise StorageError(f"{place} holds {found}, which Wenti did not write; move it")
    old = find_known(marks) & there.keys()
    mark = next(name for name in new if name in MARKS)
    data = {name: path for name, path in new.items() if name != mark}
    claim = as_mark({*old, *new}, {"token": secrets.token_hex(8)})
    files.put({place / WRITING: claim})
    files.delete(place, [place / name for name in MARKS if name in old])
    files.put({place / name: path for name, path in data.items()})
    files.delete(place, [place / name for name in old - new.keys() - {WRITING, *MARKS}])
    if not _is_whole(files, place, data, claim):
        _give_up(files, place, claim)
    files.put({place / mark: new[mark]})
    files.delete(place, [place / WRITING])


def _is_whole(
    files: ObjectFiles, place: ObjectPlace, data: Mapping[str, Path], claim: bytes
) -> bool:
    """Return whether everything is there as it was put, and nobody else has put a mark."""
    there = _names_below(files, place)
    sizes = {name: path.stat().st_size for name, path in data.items()}
    is_ours = files.read(place / WRITING) == claim
    return is_ours and not there.keys() & {*MARKS} and sizes.items() <= there.items()


def _give_up(files: ObjectFiles, place: ObjectPlace, claim: bytes) -> NoReturn:
    """Leave files of two runs as a data set that is not finished, and is replaced by the next run.

    Raises:
        StorageError: another run writes the same data set.
    """
    marks = _read_marks(files, place, _names_below(files, place))
    names = find_known({**marks, "claim": claim}) - {"claim"}
    files.put({place / WRITING: as_mark(names, {})})
    files.delete(place, [place / name for name in MARKS])
    raise StorageError(f"another run writes to {place}; let only one do so, and run it again")


def _names_below(files: ObjectFiles, place: ObjectPlace) -> dict[str, int]:
    """Return the size of each object below a place, by its name from there."""
    return {str(one.place)[len(f"{place}/") :]: one.size for one in files.below(place)}


def _read_marks(
    files: ObjectFiles, place: ObjectPlace, names: Mapping[str, int]
) -> dict[str, bytes]:
    return {name: files.read(place / name) for name in (*MARKS, WRITING) if name in names}
