"""Errors of an object store as messages, without what could tell a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from obstore.exceptions import BaseError

from tasks.addresses import ObjectPlace
from tasks.errors import ObjectStoreError, StorageError
from tasks.store.objects.clouds.known import cloud_of

_STATUS = re.compile(r"\bcode: (\d{3})|\b([45]\d{2}) [A-Z][a-z]+")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_CHANGED = 412  # If-Match does not hold
_REFUSED = (
    "permission denied; the credentials of the environment or the instance need the permissions "
    "in docs/object-stores.md"
)


@contextmanager
def object_faults(place: PurePath, what: str) -> Iterator[None]:
    """Turn what obstore raises in the block into our errors; `what` is such as `write`.

    Raises:
        FileNotFoundError: there is no such object.
        StorageError: permission is denied, or the bucket is full.
        ObjectStoreError: the store does not answer, or is too busy, after several attempts.
    """
    try:
        yield
    except FileNotFoundError as error:  # what obstore raises for it
        if cloud_of(place).no_bucket.search(str(error)):
            raise StorageError(f"cannot {what} {place}: {no_bucket(place)}") from None
        raise FileNotFoundError(f"{place} does not exist") from None
    except BaseError as error:
        # Without its cause: a server's answer may repeat the access key.
        raise explain(error, place, what) from None


def explain(error: BaseError, place: PurePath, what: str) -> StorageError:
    """Return the message of an error of obstore."""
    text, cloud = str(error), cloud_of(place)
    cannot = f"cannot {what} {place}"
    if cloud.no_bucket.search(text):
        return StorageError(f"{cannot}: {no_bucket(place)}")
    for pattern, fault in cloud.faults:
        if pattern.search(text):
            return StorageError(f"{cannot}: {fault}")
    if status_of(error) in {401, 403}:
        return StorageError(f"{cannot}: {_REFUSED}{_told(error)}")
    if status_of(error) == _CHANGED:
        return ObjectStoreError(f"{cannot}: it was replaced meanwhile; run again")
    remedy = "nothing is damaged: check `store.endpoint` and the network, then run again"
    return ObjectStoreError(f"{cannot}: the object store fails{_told(error)}; {remedy}")


def no_bucket(place: PurePath) -> str:
    """Return that the bucket of a place does not exist, in the words of its object store."""
    return f"there is no such {ObjectPlace(place).noun}"


def status_of(error: BaseError) -> int | None:
    """Return the HTTP status in an error of obstore; None without one."""
    found = _STATUS.search(str(error))
    return int(found[1] or found[2]) if found else None


def _told(error: BaseError) -> str:
    """Return the HTTP status and the code in an error, in parentheses; empty without them."""
    status, code = status_of(error), _CODE.search(str(error))
    known = [str(status)] * (status is not None) + ([code[1]] if code else [])
    return f" ({', '.join(known)})" if known else ""
