"""Manifests: what a checkpoint consists of and what decided its content.

A *checkpoint* is the result of a stage: a set of files and a manifest, which is written last and
lists each file with its size and sha256. A checkpoint without a manifest does not exist. A
*fingerprint* is the sha256 of everything that decides a checkpoint's content, and nothing else, so
a checkpoint can be reused exactly if its fingerprint is the expected one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import StoreCorruptionError
from tasks.store.files import commit_bytes, describe_file, storage_of
from tasks.store.storage import FileEntry, Record
from tasks.system_errors import SHORTAGES

MANIFEST = "manifest.json"
PARTS_MANIFEST = "_manifest.json"
"""Of a table in parts; programs that read a folder of Parquet files pass over such names."""


def canonical_json(value: object) -> bytes:
    """Return `value` as canonical JSON: sorted keys, no spaces, UTF-8.

    Raises:
        TypeError: it is not made of JSON types.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def fingerprint(decided_by: Mapping[str, object]) -> str:
    """Return the sha256 (64 hex digits) of everything that decides a checkpoint's content."""
    return hashlib.sha256(canonical_json(decided_by)).hexdigest()


class Manifest(Record):
    """What a checkpoint consists of, and what decided its content.

    Attributes:
        kind: of the checkpoint, such as `dataset`.
        fingerprint: sha256 of `decided_by`, 64 hex digits.
        decided_by: everything that decides the content.
        files: in the manifest's folder.
        details: facts about the content, which depend on `kind`.
    """

    kind: str
    fingerprint: str
    decided_by: dict[str, Any]
    files: tuple[FileEntry, ...]
    details: dict[str, Any] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON that includes a sha256 of itself as `seal`."""
        body = self.model_dump(mode="json")
        sealed = {**body, "seal": hashlib.sha256(canonical_json(body)).hexdigest()}
        return json.dumps(sealed, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Parse what `to_bytes` returned.

        Raises:
            ValueError: this is not a manifest, or its content has changed.
        """
        body = json.loads(data)
        if not isinstance(body, dict):
            raise ValueError("not a manifest")  # noqa: TRY004 callers expect one error
        seal = body.pop("seal", None)
        if seal != hashlib.sha256(canonical_json(body)).hexdigest():
            raise ValueError("the seal does not match")
        return cls.model_validate(body)


def commit_manifest(path: PurePath, manifest: Manifest) -> None:
    """Write a manifest; from then on its checkpoint exists.

    Raises:
        StorageError: it cannot be written.
        StoreCorruptionError: reading it back gives other bytes.
    """
    commit_bytes(path, manifest.to_bytes())


def read_manifest(path: PurePath, expected_fingerprint: str) -> Manifest | None:
    """Return the manifest at `path`, or None if there is none.

    Raises:
        StoreCorruptionError: it is damaged or belongs to another fingerprint.
        OSError: it cannot be read.
    """
    try:
        manifest = Manifest.from_bytes(storage_of(path).read(path))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError, ValidationError) as error:
        raise StoreCorruptionError(f"{path} is damaged: {error}") from error
    if manifest.fingerprint != expected_fingerprint:
        raise StoreCorruptionError(f"{path} belongs to another fingerprint")
    return manifest


def verify_files(folder: PurePath, files: Sequence[FileEntry]) -> None:
    """Read all files of a checkpoint and compare them with its manifest.

    Raises:
        StoreCorruptionError: a file is missing, or its size or sha256 differs.
        OSError: a file cannot be read.
    """
    for entry in files:
        path = folder / entry.name
        storage = storage_of(path)
        if not storage.is_file(path):
            raise StoreCorruptionError(f"{path} is missing")
        found = storage.describe(path)  # a name in the manifest may have a folder
        if (found.size, found.sha256) != (entry.size, entry.sha256):
            raise StoreCorruptionError(f"{path} differs from what was committed")


class Details(BaseModel):
    """Base of the details of one kind of manifest, defined beside the code that writes them.

    Fingerprints do not depend on them, so manifests of older versions must still be readable.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Return the details of a manifest of this kind.

        Raises:
            StoreCorruptionError: the manifest has other details.
        """
        try:
            return cls.model_validate(manifest.details)
        except ValidationError as error:
            raise StoreCorruptionError(
                f"the manifest of {manifest.kind} {manifest.fingerprint} has other details than "
                f"this version of Wenti reads ({on_one_line(error)}); delete its folder from the "
                "store and run again"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Return the details as JSON types for the manifest, without keys that were not given."""
        return self.model_dump(mode="json", exclude_unset=True)


class PartsDetails(Details):
    """What the manifest of a table in parts says: the number of rows of each part, in order."""

    part_rows: list[int]


@dataclass(frozen=True)
class Part:
    """A Parquet file of a table, and how many rows it has; None if only the file tells."""

    place: PurePath
    rows: int | None = None


def list_parts(place: PurePath) -> list[Part]:
    """Return the files of a table, in order.

    It is one Parquet file or, if the place has no suffix, a folder with a manifest of its parts.

    Raises:
        StoreCorruptionError: there is no such folder, or its manifest is damaged.
    """
    if place.suffix:
        return [Part(place)]
    try:
        manifest = Manifest.from_bytes(storage_of(place).read(place / PARTS_MANIFEST))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreCorruptionError(f"{place} cannot be read: {error}") from error
    counts = PartsDetails.of(manifest).part_rows
    pairs = zip(manifest.files, counts, strict=True)
    return [Part(place / entry.name, rows) for entry, rows in pairs]


def describe_table(place: PurePath) -> FileEntry:
    """Return name, size and sha256 of a table: of its file, or of the manifest of its parts.

    Either tells the table's content from any other.

    Raises:
        OSError: it is missing or cannot be read.
    """
    return describe_file(place if place.suffix else place / PARTS_MANIFEST)


@dataclass(frozen=True)
class Found:
    """The result of looking a checkpoint up.

    Attributes:
        manifest: of the verified checkpoint; None if it is missing or damaged.
        damage: what is wrong with a damaged one.
    """

    manifest: Manifest | None
    damage: str | None = None

    @property
    def state(self) -> str:
        """`made`, `damaged` or `missing`."""
        if self.manifest is not None:
            return "made"
        return "damaged" if self.damage else "missing"


def find_checkpoint(manifest_path: PurePath, expected_fingerprint: str) -> Found:
    """Look a checkpoint up and verify all its files; damage is returned.

    Raises:
        OSError: this process or machine lacks the memory or the open files to look.
    """
    try:
        manifest = read_manifest(manifest_path, expected_fingerprint)
        if manifest is not None:
            verify_files(manifest_path.parent, manifest.files)
    except StoreCorruptionError as error:
        return Found(None, str(error))
    except OSError as error:  # a bad sector, or permission denied
        if error.errno in SHORTAGES:
            raise
        return Found(None, f"{manifest_path.parent} cannot be read: {error}")
    return Found(manifest)


def on_one_line(error: ValidationError) -> str:
    """Return the faults of a pydantic error on one line, each after the keys that lead to it."""
    faults = error.errors(include_url=False)
    return "; ".join(": ".join((*map(str, fault["loc"]), fault["msg"])) for fault in faults)
