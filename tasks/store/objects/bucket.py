"""The requests to a bucket, with errors as `tasks.errors` has them.

A file is stored by one PUT, which stores it whole or not at all and replaces an older one at once.
A large file is uploaded in parts, which the last request turns into the object at once; without
that request the parts are no object, but stay in the bucket until its lifecycle rule, or Azure
after a week, deletes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from tasks.addresses import ObjectPlace
from tasks.errors import ObjectStoreError, StorageError
from tasks.store.objects.clouds.known import cloud_of
from tasks.store.objects.faults import explain, no_bucket, object_faults

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import ObjectStore


LARGE = 64 << 20
"""Bytes from which a file is uploaded in parts."""

PART = 32 << 20
"""Bytes of a part; S3 has at most 10,000 of them."""

BATCH = 256
"""Keys that Azure deletes with one request."""

PUT_DELAYS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before another PUT after one that the store refused because it was busy."""


class Bucket:
    """A bucket; all methods take places in it.

    SeaweedFS lists an emptied folder as an object with the key of the folder, which is left out.

    All methods raise `ObjectStoreError` if the store does not answer or is too busy, and
    `StorageError` if it refuses.
    """

    def __init__(self, client: ObjectStore) -> None:
        self.client = client

    def read(self, place: PurePath, most: int | None = None) -> bytes:
        """Return the content of an object, or its first bytes, at most so many.

        Raises:
            FileNotFoundError: there is none.
        """
        with object_faults(place, "read"):
            answer = obstore.get(self.client, ObjectPlace(place).key)
            if most is None:
                return bytes(answer.bytes())
            return b"".join(_take(answer, most))[:most]

    def download(self, place: ObjectPlace, found: ObjectMeta, path: Path) -> None:
        """Write the content of an object, as it was found, to a local file.

        Raises:
            FileNotFoundError: it was deleted.
            ObjectStoreError: it was replaced meanwhile, or received in part only.
        """
        tag = found["e_tag"]
        # A newer object of the name would get into the cache with the ETag of the older one.
        with object_faults(place, "read"), path.open("wb") as file:
            answer = obstore.get(self.client, place.key, options={"if_match": tag} if tag else {})
            for piece in answer.stream():
                file.write(piece)
        if path.stat().st_size != found["size"]:
            raise ObjectStoreError(f"only a part of {place} was received; run again")

    def put(self, place: PurePath, data: Path | bytes) -> str:
        """Store a file as a whole; try again while the store is too busy. Return its ETag."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        for delay in (*PUT_DELAYS, None):
            try:
                return self._put(ObjectPlace(place).key, data, is_large=size >= LARGE)
            except BaseError as error:
                told = explain(error, place, "write")
                if delay is None or not isinstance(told, ObjectStoreError):
                    raise told from None
                time.sleep(delay)
            except FileNotFoundError:  # what obstore raises for it
                raise StorageError(f"cannot write {place}: {no_bucket(place)}") from None
        raise AssertionError  # the last delay is None

    def _put(self, key: str, data: Path | bytes, *, is_large: bool) -> str:
        result = obstore.put(
            self.client, key, data, use_multipart=is_large, chunk_size=PART, max_concurrency=4
        )
        return result["e_tag"] or ""

    def delete(self, place: PurePath, keys: list[str]) -> None:
        """Delete objects by their keys, as far as they exist; `place` is for messages."""
        try:
            with object_faults(place, "delete"):
                obstore.delete(self.client, keys)
        except FileNotFoundError:
            # Azure deletes the rest of a batch when one is missing, but perhaps no other batch.
            if len(keys) > BATCH:
                for start in range(0, len(keys), BATCH):
                    self.delete(place, keys[start : start + BATCH])

    def head(self, place: ObjectPlace) -> ObjectMeta | None:
        """Return size, ETag and time of an object; None if there is none."""
        if not place.key:
            return None
        try:
            with object_faults(place, "read"):
                return obstore.head(self.client, place.key)
        except FileNotFoundError:
            return None

    def check_readable(self, place: ObjectPlace) -> None:
        """Raise why an object cannot be read, with the reason that HEAD does not tell.

        Raises:
            FileNotFoundError: there is none.
        """
        with object_faults(place, "read"):
            obstore.get(self.client, place.key)

    def below(self, place: ObjectPlace) -> list[ObjectMeta]:
        """Return size, ETag and time of all objects below a place, sorted by key."""
        with object_faults(place, "list"):
            pages = list(obstore.list(self.client, prefix_of(place) or None))
        tag_of = cloud_of(place).listed_tag
        found = (one for page in pages for one in page if one["path"] != place.key)
        whole: list[ObjectMeta] = [{**one, "e_tag": tag_of(one["e_tag"] or "")} for one in found]
        return sorted(whole, key=lambda one: one["path"])

    def has_files(self, place: ObjectPlace) -> bool:
        """Return whether there is an object below a place."""
        with object_faults(place, "list"):
            pages = obstore.list(self.client, prefix_of(place) or None, chunk_size=2)
            return any(one["path"] != place.key for page in pages for one in page)

    def names_in(self, place: ObjectPlace) -> set[str]:
        """Return the names of what is directly below a place."""
        with object_faults(place, "list"):
            found = obstore.list_with_delimiter(self.client, prefix_of(place) or None)
        keys = {*found["common_prefixes"], *(one["path"] for one in found["objects"])}
        return {key.rstrip("/").rpartition("/")[2] for key in keys - {place.key}}


def _take(answer: GetResult, most: int) -> Iterator[bytes]:
    """Yield pieces of an answer until they are so many bytes."""
    for piece in answer.stream():
        yield bytes(piece)
        most -= len(piece)
        if most <= 0:
            return


def put_if(client: ObjectStore, key: str, data: bytes, condition: str) -> str:
    """PUT an object if there is none (`create`), or if it has this ETag; return its new ETag.

    Raises:
        AlreadyExistsError: there is one.
        PreconditionError: it has another ETag; on some servers also if there is none.
        FileNotFoundError: there is none.
    """
    mode = "create" if condition == "create" else {"e_tag": condition}
    # The type of `mode` wants a version, too, but a version that is None is refused.
    result = obstore.put(client, key, data, mode=mode, use_multipart=False)  # type: ignore[arg-type]
    return result["e_tag"] or ""


def prefix_of(place: ObjectPlace) -> str:
    """Return with what the keys below a place begin; empty for the bucket."""
    return f"{place.key}/" if place.key else ""


def place_of(folder: ObjectPlace, found: ObjectMeta) -> ObjectPlace:
    """Return the place of an object below a folder."""
    return folder / found["path"].removeprefix(prefix_of(folder))
