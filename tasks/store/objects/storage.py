"""Storage in an object store.

A file is written and checked on the disk of this machine, then stored as a whole (`bucket.py`).
There are no renames.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
from tasks.store.layout import LATEST, NEWEST
from tasks.store.local import file_sha256
from tasks.store.objects.bucket import Bucket, place_of, prefix_of
from tasks.store.objects.cache import CACHE_KEY, Cache
from tasks.store.objects.files import ObjectFiles
from tasks.store.objects.leases import LeaseLocks
from tasks.store.objects.probe import check_bucket
from tasks.store.objects.spool import Spool
from tasks.store.storage import FileEntry
from tasks.system_errors import storage_faults

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore


RECENT_SECONDS = 2 * 24 * 3600
"""What was stored since then may belong to a run that cannot reach the store at the moment."""

_POINTERS = {LATEST, NEWEST}


class ObjectStorage:
    """`Storage` in one bucket.

    Attributes:
        files: those of the bucket that are no part of a store.

    Args:
        bucket: holds everything.
        leases: a client of the same bucket with short timeouts.
        cache: of fetched files.
    """

    def __init__(self, bucket: Bucket, leases: ObjectStore, cache: Cache) -> None:
        self._bucket, self._cache = bucket, cache
        self._spool = Spool(bucket.read, bucket.put)
        self.locks = LeaseLocks(leases)
        self.files = ObjectFiles(bucket, cache)

    def read(self, place: PurePath) -> bytes:
        """Return the content of a file."""
        return self._bucket.read(self._follow(place))

    def fetch(self, place: PurePath) -> Path:
        """Return the path of a verified copy of a file, or of a folder with all its files."""
        target = self._follow(place)
        found = self._bucket.head(target)
        if found is not None:
            return self._copy(target, found)
        below = self._bucket.below(target)
        tags = "\n".join(f"{one['path']} {one['e_tag']}" for one in below)
        files = {
            one["path"].removeprefix(prefix_of(target)): self._copy(place_of(target, one), one)
            for one in below
        }
        return self._cache.folder(str(target), hashlib.sha256(tags.encode()).hexdigest(), files)

    def describe(self, place: PurePath) -> FileEntry:
        """Return the current name, size and sha256 of a file."""
        target = self._follow(place)
        found = self._bucket.head(target)
        if found is None:
            raise FileNotFoundError(f"{place} does not exist")
        return _entry(self._copy(target, found), place.name)

    def is_file(self, place: PurePath) -> bool:
        """Return whether this is a file; pointers are followed."""
        return self._bucket.head(self._follow(place)) is not None

    def exists(self, folder: PurePath) -> bool:
        """Return whether this is a folder, which one file makes; pointers are followed."""
        return self._bucket.has_files(self._follow(folder))

    def is_folder(self, place: PurePath) -> bool:
        """Return whether this is a folder and not a pointer to one."""
        return not self.is_link(place) and self._bucket.has_files(ObjectPlace(place))

    def is_link(self, place: PurePath) -> bool:
        """Return whether this is a pointer, even a dangling one."""
        return place.name in _POINTERS and self._bucket.head(ObjectPlace(place)) is not None

    def is_recent(self, place: PurePath) -> bool:
        """Return whether a file, or one below a folder, was stored in the last two days."""
        target = ObjectPlace(place)
        found = self._bucket.head(target)
        stored = [
            one["last_modified"] for one in ([found] if found else self._bucket.below(target))
        ]
        return any(time.time() - one.timestamp() < RECENT_SECONDS for one in stored)

    def size(self, place: PurePath) -> int:
        """Return the size in bytes of a file or of all files below a folder."""
        target = ObjectPlace(place)
        self._spool.flush(target)
        found = self._bucket.head(target)
        return found["size"] if found else sum(one["size"] for one in self._bucket.below(target))

    def list_folder(self, folder: PurePath) -> list[PurePath]:
        """Return the entries of a folder, sorted by name; an empty list if there is no folder."""
        target = self._follow(folder)
        return sorted(folder / name for name in self._bucket.names_in(target))

    def commit(
        self,
        place: PurePath,
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None,
        setting: str,
    ) -> FileEntry:
        """Write a file completely or not at all; see `tasks.store.files.commit_file`."""
        del setting  # the disk that can be full here is that of the cache
        with self._cache.temporary() as folder, storage_faults(folder, CACHE_KEY):
            temporary = folder / "file"
            write(temporary)
            if check is not None:
                check(temporary)
            return self.adopt(temporary, place)

    @contextmanager
    def stage(self, folder: PurePath) -> Iterator[Path]:
        """Yield a private folder on this machine; at the end it is deleted."""
        del folder
        with self._cache.temporary() as staging, storage_faults(staging, CACHE_KEY):
            yield staging

    def adopt(self, staged: Path, place: PurePath) -> FileEntry:
        """Store a finished file of a staging folder."""
        entry = _entry(staged, place.name)
        self._spool.flush(place.parent)  # what seals a run comes after its journal
        tag = self._bucket.put(place, staged)
        self._cache.keep(str(place), tag, staged, entry.sha256)
        with suppress(FileNotFoundError):
            staged.unlink()
        return entry

    def append(self, place: PurePath, data: bytes) -> None:
        """Append to a file, which is stored as a whole within a few seconds.

        Raises:
            OSError: what is stored cannot be read.
        """
        try:
            self._spool.append(place, data)
        except StorageError as error:
            raise OSError(errno.EIO, str(error)) from error

    def delete(self, place: PurePath) -> None:
        """Delete a file or a pointer, if it exists, or a folder with all its content.

        Of a folder, manifests and other JSON files go first: if the process is killed, what
        remains is no checkpoint and no run.
        """
        target = ObjectPlace(place)
        self._spool.forget(place)
        if target.name in _POINTERS or self._bucket.head(target) is not None:
            keys = [[target.key]]
        else:
            paths = [one["path"] for one in self._bucket.below(target)]
            sealed = [path for path in paths if path.endswith(".json")]
            keys = [sealed, [path for path in paths if not path.endswith(".json")]]
        for some in filter(None, keys):
            self._bucket.delete(place, some)

    def delete_file(self, place: PurePath, setting: str) -> None:
        """Delete a file or a pointer, if it exists."""
        del setting
        self._spool.forget(place)
        self._bucket.delete(place, [ObjectPlace(place).key])

    def point(self, link: PurePath, name: str) -> None:
        """Make `link` an object that names its target in the same folder.

        Raises:
            StorageError: the store cannot be written, or this name is never a pointer.
        """
        if link.name not in _POINTERS:
            raise StorageError(f"{link} cannot be a pointer: only latest and newest can")
        self._bucket.put(link, name.encode())

    def resolve(self, place: PurePath) -> PurePath:
        """Return the place that a pointer leads to; any other place is returned as it is."""
        return self._follow(place)

    def make_root(self, place: PurePath) -> None:
        """Check that the store can be written, read, listed and deleted from, and PUTs have effect.

        Raises:
            StorageError: permission is missing, or the server ignores the conditions of PUTs.
            ObjectStoreError: the server does not answer.
        """
        check_bucket(self._bucket, ObjectPlace(place))

    def _follow(self, place: PurePath) -> ObjectPlace:
        """Return a place with the pointer in it, if any, replaced by its target.

        What was appended there is stored first, so that it is read.
        """
        target = ObjectPlace(place)
        for link in (target, *target.parents):
            if link.name in _POINTERS:
                with suppress(FileNotFoundError):
                    name = self._bucket.read(ObjectPlace(link)).decode(errors="replace")
                    target = ObjectPlace(link).with_name(name) / target.relative_to(link)
                    break
        self._spool.flush(target)
        return target

    def _copy(self, place: ObjectPlace, found: ObjectMeta) -> Path:
        return self._cache.file(
            str(place), found["e_tag"] or "", lambda path: self._bucket.download(place, found, path)
        )


def _entry(path: Path, name: str) -> FileEntry:
    return FileEntry(name=name, size=path.stat().st_size, sha256=file_sha256(path))
