"""Files that are no part of a store: passages in a bucket, and results that are delivered to one.

They need no condition of a PUT. What is read is copied into the cache once for each version of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
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
        self._bucket.download(file.place, file.found, path)
