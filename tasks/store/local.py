"""Storage in a file system that all processes share.

A file is committed by writing a temporary file in the same folder, fsync, reopening and checking
it, rename, and fsync of the folder. A reader never sees a partial file. Two processes may commit
the same bytes at once: each renames its own complete file to the final name.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from tasks.store.local_locks import LocalLocks, holding_folder
from tasks.store.storage import FileEntry
from tasks.system_errors import storage_faults

REMOVED = ".removed-"
"""Prefix of the name of a folder that is being deleted."""

STAGING = ".staging-"
"""Prefix of the name of a staging folder."""

_READ_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a local file, read in pieces.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class LocalStorage:
    """`Storage` in a file system; a place is the path itself."""

    locks = LocalLocks()

    def read(self, place: PurePath) -> bytes:
        """Return the content of a file."""
        return Path(place).read_bytes()

    def fetch(self, place: PurePath) -> Path:
        """Return the path of a file or folder."""
        return Path(place)

    def describe(self, place: PurePath) -> FileEntry:
        """Return the current name, size and sha256 of a file."""
        path = Path(place)
        return FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))

    def is_file(self, place: PurePath) -> bool:
        """Return whether this is a file; symbolic links are followed."""
        return Path(place).is_file()

    def exists(self, folder: PurePath) -> bool:
        """Return whether this is a folder; symbolic links are followed."""
        return Path(folder).is_dir()

    def is_folder(self, place: PurePath) -> bool:
        """Return whether this is a folder and not a symbolic link."""
        return Path(place).is_dir() and not Path(place).is_symlink()

    def is_link(self, place: PurePath) -> bool:
        """Return whether this is a symbolic link, even a dangling one."""
        return Path(place).is_symlink()

    def is_recent(self, place: PurePath) -> bool:
        """Return false: a lock here ends only with its process."""
        del place
        return False

    def size(self, place: PurePath) -> int:
        """Return the size in bytes of a file or of all files below a folder, links not followed."""
        if self.is_folder(place):
            return sum(map(self.size, self.list_folder(place)))
        return Path(place).lstat().st_size

    def list_folder(self, folder: PurePath) -> list[PurePath]:
        """Return the entries of a folder, sorted by name; an empty list if there is no folder.

        Raises:
            StorageError: permission is denied, or the disk failed.
        """
        with storage_faults(folder):
            return sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []

    def commit(
        self,
        place: PurePath,
        write: Callable[[Path], None],
        check: Callable[[Path], None] | None,
        setting: str,
    ) -> FileEntry:
        """Write a file completely or not at all; see `tasks.store.files.commit_file`.

        Raises:
            StorageError: the disk is full or read-only, or permission is denied.
        """
        path = Path(place)
        with storage_faults(path, setting):
            _make_folder(path.parent)
            temporary = _temporary(path)
            try:
                write(temporary)
                _fsync(temporary)
                if check is not None:
                    check(temporary)
                entry = self._describe_as(temporary, path.name)
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):  # never made, or the disk failed: the first error matters
                    temporary.unlink()
                raise
            _fsync(path.parent)
        return entry

    @contextmanager
    def stage(self, folder: PurePath) -> Iterator[Path]:
        """Yield a private folder inside `folder`.

        At the end it is deleted, as are folders that were made for it and stayed empty. Those of
        processes that were killed are deleted at the beginning.

        Raises:
            StorageError: the disk is full or read-only, or permission is denied.
        """
        parent = Path(folder)
        missing = _missing_folders(parent)
        with storage_faults(parent):
            try:
                _make_folder(parent)
                _remove_abandoned(parent)
                with _make_staging(parent) as staging:
                    yield staging
            finally:
                for made in missing:
                    with suppress(OSError):  # not empty, or never made
                        made.rmdir()

    def adopt(self, staged: Path, place: PurePath) -> FileEntry:
        """Commit a finished file of a staging folder under its final name.

        Raises:
            OSError: the file cannot be moved.
        """
        path = Path(place)
        _fsync(staged)
        entry = self._describe_as(staged, path.name)
        staged.replace(path)
        _fsync(path.parent)
        return entry

    def append(self, place: PurePath, data: bytes) -> None:
        """Append to a file, not atomically: a reader may see a part of `data`.

        Raises:
            OSError: the file cannot be written.
        """
        with Path(place).open("ab") as file:
            file.write(data)

    def delete(self, place: PurePath) -> None:
        """Delete a file or link, if it exists, or a folder with all its content.

        A folder is renamed first: it disappears in one step, and what remains if the process is
        killed is recognized as garbage.

        Raises:
            StorageError: the disk is read-only, or permission is denied.
        """
        path = Path(place)
        with storage_faults(path):
            if not self.is_folder(path):
                path.unlink(missing_ok=True)
                return
            if not path.name.startswith((REMOVED, STAGING)):
                path = path.rename(path.with_name(f"{REMOVED}{path.name}-{secrets.token_hex(4)}"))
            shutil.rmtree(path)

    def delete_file(self, place: PurePath, setting: str) -> None:
        """Delete a file or link, if it exists.

        Raises:
            StorageError: the disk is read-only, or permission is denied.
            IsADirectoryError: it is a folder, which is left as it is.
        """
        with storage_faults(place, setting):
            Path(place).unlink(missing_ok=True)

    def point(self, link: PurePath, name: str) -> None:
        """Make `link` a symbolic link to `name` in its folder, replacing an old link atomically.

        Raises:
            StorageError: the disk is full or read-only, or permission is denied.
        """
        path = Path(link)
        temporary = _temporary(path)
        with storage_faults(path):
            temporary.symlink_to(name)
            try:
                temporary.replace(path)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def resolve(self, place: PurePath) -> PurePath:
        """Return the path behind symbolic links, absolute."""
        return Path(os.path.realpath(place))

    def make_root(self, place: PurePath) -> None:
        """Make the folder of a store."""
        with storage_faults(place):
            Path(place).mkdir(parents=True, exist_ok=True)

    def _describe_as(self, path: Path, name: str) -> FileEntry:
        return self.describe(path).model_copy(update={"name": name})


LOCAL = LocalStorage()


def _temporary(path: Path) -> Path:
    """Return a new temporary name beside a path, by which `wenti gc` knows what is left behind."""
    return path.with_name(f".{_shorten(path.name)}.{_token()}.tmp")


def _missing_folders(folder: Path) -> list[Path]:
    """Return those of the folder and its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


@contextmanager
def _make_staging(parent: Path) -> Iterator[Path]:
    """Yield a new folder that is locked as long as this process lives; delete it at the end."""
    while True:
        staging = parent / f"{STAGING}{secrets.token_hex(4)}"
        staging.mkdir()  # not `mkdtemp`, which keeps a group out whatever the umask is
        with holding_folder(staging, waits=True):
            if not staging.exists():  # taken for abandoned before it was locked
                continue
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            return


def _remove_abandoned(parent: Path) -> None:
    """Delete the staging folders that no living process has locked, as far as this user may."""
    for staging in sorted(parent.glob(f"{STAGING}*")):
        with suppress(FileNotFoundError), holding_folder(staging, waits=False) as is_held:
            if is_held:
                shutil.rmtree(staging, ignore_errors=True)


def _token() -> str:
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def _shorten(name: str) -> str:
    """Return the start of a name, so that a temporary name made of it is not too long."""
    return os.fsdecode(os.fsencode(name)[:200])


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, and fsync them so that they survive a power cut."""
    missing = _missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _fsync(made.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
