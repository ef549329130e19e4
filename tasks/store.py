"""The store: checkpoints that are either whole and verified, or not there.

A *checkpoint* is a set of files with a manifest that is written last and names each file with its
size and sha256. A *fingerprint* is a sha256 over everything that decides a checkpoint's content
and nothing else, so a checkpoint with the right fingerprint can be reused and no other can.

A commit is: temporary file in the same folder, write, fsync, reopen and check, rename, fsync the
folder. A reader never sees a part of a file, and two processes that make the same checkpoint
rename the same bytes over each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import StoreCorruptionError, storage_faults

MANIFEST = "manifest.json"
_READ_BYTES = 1 << 20


def canonical_json(value: object) -> bytes:
    """Give the one JSON text of `value`: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def fingerprint(decided_by: Mapping[str, object]) -> str:
    """Give the sha256 (64 hex digits) of everything that decides a checkpoint's content."""
    return hashlib.sha256(canonical_json(decided_by)).hexdigest()


def file_sha256(path: Path) -> str:
    """Give the sha256 (64 hex digits) of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """One file of a checkpoint: its name in the folder, size in bytes and sha256."""

    name: str
    size: int
    sha256: str


def describe_file(path: Path) -> FileEntry:
    """Give the entry of a file as it is now."""
    return FileEntry(name=path.name, size=path.stat().st_size, sha256=file_sha256(path))


class Manifest(_Record):
    """What a checkpoint consists of, and what decided its content."""

    kind: str
    fingerprint: str
    decided_by: dict[str, Any]
    files: tuple[FileEntry, ...]
    details: dict[str, Any] = {}

    def to_bytes(self) -> bytes:
        """Give the manifest as JSON text that carries its own sha256."""
        body = self.model_dump(mode="json")
        sealed = {**body, "seal": hashlib.sha256(canonical_json(body)).hexdigest()}
        return json.dumps(sealed, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest back; raises `ValueError` when a single byte of its content changed."""
        body = json.loads(data)
        if not isinstance(body, dict):
            raise ValueError("not a manifest")  # noqa: TRY004 one error for all that is wrong
        seal = body.pop("seal", None)
        if seal != hashlib.sha256(canonical_json(body)).hexdigest():
            raise ValueError("the seal does not match")
        return cls.model_validate(body)


def commit_file(
    path: Path,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    setting: str = "store.path",
) -> FileEntry:
    """Make `path` whole or not at all: `write` fills a temporary file, `check` reads it back.

    `setting` is the config key that moves the file elsewhere, for the message when it cannot be
    written.

    Raises:
        StorageError: the disk is full, read-only or closed to this user; no part is left behind.
    """
    with storage_faults(path, setting):
        _make_folder(path.parent)
        temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            write(temporary)
            _fsync(temporary)
            if check is not None:
                check(temporary)
            entry = describe_file(temporary).model_copy(update={"name": path.name})
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # never made, or a bad disk: the first error says why
                temporary.unlink()
            raise
        _fsync(path.parent)
    return entry


def commit_bytes(path: Path, data: bytes) -> FileEntry:
    """Commit a small file whose content is at hand."""

    def check(temporary: Path) -> None:
        if temporary.read_bytes() != data:
            raise StoreCorruptionError(f"{path} did not read back as it was written")

    return commit_file(path, lambda temporary: _write_bytes(temporary, data), check)


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Give a private folder inside `folder` for files whose names or number are not final yet.

    At the end it is gone, and so are the folders made for it that nothing was adopted into.
    """
    missing = _missing_folders(folder)
    with storage_faults(folder, "store.path"):
        try:
            _make_folder(folder)
            staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            for one in missing:
                with suppress(OSError):  # not empty, or never made
                    one.rmdir()


def adopt_file(staged: Path, path: Path) -> FileEntry:
    """Commit a file that stands ready in a staging folder under its final name."""
    _fsync(staged)
    entry = describe_file(staged).model_copy(update={"name": path.name})
    staged.replace(path)
    _fsync(path.parent)
    return entry


def commit_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes its checkpoint exist."""
    commit_bytes(path, manifest.to_bytes())


def read_manifest(path: Path, expected_fingerprint: str) -> Manifest | None:
    """Give the manifest at `path`, or None when there is none.

    Raises:
        StoreCorruptionError: it cannot be read, was changed, or belongs to another fingerprint.
    """
    try:
        manifest = Manifest.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        raise StoreCorruptionError(f"{path} is damaged: {error}") from error
    if manifest.fingerprint != expected_fingerprint:
        raise StoreCorruptionError(f"{path} belongs to another fingerprint")
    return manifest


def verify_files(folder: Path, files: Sequence[FileEntry]) -> None:
    """Read every file of a checkpoint back.

    Raises:
        StoreCorruptionError: one is missing, or its size or sha256 is not the manifest's.
    """
    for entry in files:
        path = folder / entry.name
        if not path.is_file():
            raise StoreCorruptionError(f"{path} is missing")
        if path.stat().st_size != entry.size or file_sha256(path) != entry.sha256:
            raise StoreCorruptionError(f"{path} is not what was committed")


@dataclass(frozen=True)
class Found:
    """What a look into the store gave: the verified manifest, or why there is none to use."""

    manifest: Manifest | None
    damage: str | None = None

    @property
    def state(self) -> str:
        """`made`, `damaged` or `missing`."""
        if self.manifest is not None:
            return "made"
        return "damaged" if self.damage else "missing"


def find_checkpoint(manifest_path: Path, expected_fingerprint: str) -> Found:
    """Look a checkpoint up and read all of it back; damage counts as missing, with the reason."""
    try:
        manifest = read_manifest(manifest_path, expected_fingerprint)
        if manifest is not None:
            verify_files(manifest_path.parent, manifest.files)
    except StoreCorruptionError as error:
        return Found(None, str(error))
    except OSError as error:  # a bad sector, or somebody else's file
        return Found(None, f"{manifest_path.parent} cannot be read: {error}")
    return Found(manifest)


@dataclass(frozen=True)
class Store:
    """The folders of a store; making the object touches nothing."""

    root: Path

    def export_folder(self, export_fingerprint: str) -> Path:
        """Folder of an exported model."""
        return self.root / "exports" / export_fingerprint

    def dataset_folder(self, dataset_fingerprint: str) -> Path:
        """Folder of the tokenised parts."""
        return self.root / "datasets" / dataset_fingerprint

    def predictions_folder(self, predictions_fingerprint: str) -> Path:
        """Folder of the shards."""
        return self.root / "predictions" / predictions_fingerprint

    def model_folder(self, model_fingerprint: str) -> Path:
        """Folder of a model that was downloaded by name."""
        return self.root / "models" / model_fingerprint

    @property
    def claims_folder(self) -> Path:
        """Folder of the claims of the runs that go on now."""
        return self.root / "claims"

    def run_folder(self, run_id: str) -> Path:
        """Folder of what a run leaves for its reader."""
        return self.root / "runs" / run_id


def _missing_folders(folder: Path) -> list[Path]:
    """Give the folder and its parents as far as they are not there, the innermost first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlive a power cut, as what goes into them."""
    missing = _missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _fsync(one.parent)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
