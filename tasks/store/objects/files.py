"""Files that are no part of a store: passages in a bucket, and results that are delivered to one.

They need no condition of a PUT. What is read is copied into the cache once for each version of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.addresses import ObjectPlace
from tasks.errors import ObjectStoreError, StorageError
from tasks.store.objects.bucket import LARGE, Bucket, place_of
from tasks.store.objects.cache import Cache

if TYPE_CHECKING:
    from obstore import ObjectMeta

logger = logging.getLogger("wenti.objects")

AT_A_TIME = 8


@dataclass(frozen=True)
class ObjectFile:
    """An object as it was found.

    Attributes:
        place: its address.
        size: in bytes.
        tag: changes with its content.
        found: what the server told of it.
    """

    place: ObjectPlace
    size: int
    tag: str
    found: ObjectMeta

    @classmethod
    def of(cls, place: ObjectPlace, found: ObjectMeta) -> ObjectFile:
        """Return an object with the ETag, or else the time, that the server told."""
        tag = found["e_tag"] or found["last_modified"].isoformat()
        return cls(place, found["size"], f"{tag} {found['size']}", found)


class ObjectFiles:
    """The files of a bucket.

    All methods raise `ObjectStoreError` if the store does not answer or is too busy, and
    `StorageError` if it refuses.
    """

    def __init__(self, bucket: Bucket, cache: Cache) -> None:
        self._bucket, self._cache = bucket, cache
        self._verified: dict[tuple[ObjectPlace, str], tuple[Path, int]] = {}

    def find(self, place: ObjectPlace) -> ObjectFile | None:
        """Return the object with this address; None if there is none."""
        try:
            found = self._bucket.head(place)
        except StorageError:  # the answer to HEAD has no reason
            with suppress(FileNotFoundError):
                self._bucket.check_readable(place)
            raise
        return None if found is None else ObjectFile.of(place, found)

    def below(self, folder: ObjectPlace) -> list[ObjectFile]:
        """Return the objects below an address, sorted by address, without marks of folders."""
        files = [ObjectFile.of(place_of(folder, one), one) for one in self._bucket.below(folder)]
        folders = {parent for file in files for parent in file.place.parents}
        return [file for file in files if file.place not in folders]

    def fetch(self, files: Sequence[ObjectFile]) -> list[Path]:
        """Return the paths of verified copies, in the same order; their names are those of objects.

        A copy is verified once by each process: who needs more hashes what was read.
        """
        missing = [one for one in files if not self._cache.has(str(one.place), one.tag)]
        if missing:
            self._cache.make_room(sum(one.size for one in missing))
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            return list(threads.map(self._fetch, files))

    def read(self, place: ObjectPlace, most: int | None = None) -> bytes:
        """Return the content of an object, at most so many bytes; none if there is no object."""
        try:
            return self._bucket.read(place, most)
        except FileNotFoundError:
            return b""

    def put(self, files: Mapping[ObjectPlace, Path | bytes]) -> None:
        """Store files of this machine, each as a whole."""
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            for _tag in threads.map(self._bucket.put, files.keys(), files.values()):
                pass

    def delete(self, place: ObjectPlace, objects: Sequence[ObjectPlace]) -> None:
        """Delete objects, as far as they exist; `place` is for messages."""
        if objects:
            self._bucket.delete(place, [one.key for one in objects])

    def check_writable(self, probe: ObjectPlace) -> None:
        """Check that an object can be stored and deleted again, by doing so."""
        self._bucket.put(probe, b"")
        self._bucket.delete(probe, [probe.key])

    def _fetch(self, file: ObjectFile) -> Path:
        known, number = self._verified.get((file.place, file.tag), (None, 0))
        if known is None or not known.exists() or known.stat().st_ino != number:
            known = self._cache.file(
                str(file.place), file.tag, lambda path: self._download(file, path)
            )
            self._verified[file.place, file.tag] = known, known.stat().st_ino
        return known

    def _download(self, file: ObjectFile, path: Path) -> None:
        if file.size >= LARGE:
            logger.info("downloading %s (%.1f MB)", file.place, file.size / 1e6)
        try:
            self._bucket.download(file.place, file.found, path)
        except FileNotFoundError:
            raise ObjectStoreError(f"{file.place} was deleted meanwhile; run again") from None
