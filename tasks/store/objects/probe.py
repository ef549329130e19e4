"""Whether a bucket can hold a store: permissions, and a server that honours conditions."""

from __future__ import annotations

import secrets

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from tasks.addresses import ObjectPlace
from tasks.errors import StorageError
from tasks.store.objects.bucket import Bucket, put_if
from tasks.store.objects.faults import object_faults, status_of

_NOT_IMPLEMENTED = 501


def check_bucket(bucket: Bucket, root: ObjectPlace) -> None:
    """Check that a store can be written, read, listed and deleted from; leave nothing behind.

    Raises:
        StorageError: permission is missing, or the server ignores the conditions of PUTs.
        ObjectStoreError: the server does not answer.
    """
    place = root / "claims" / f".probe-{secrets.token_hex(8)}.tmp"
    with object_faults(place, "write"):
        first = put_if(bucket.client, place.key, b"first", "create")
    try:
        is_honoured = _honours_conditions(bucket, place, first)
        bucket.read(place)
        bucket.below(place)
    finally:
        bucket.delete(place, [place.key])
    if not is_honoured:
        raise StorageError(
            f"the server of {root.bucket} ignores the conditions of a PUT (If-None-Match, "
            "If-Match), by which runs share a store without making anything twice; use another "
            "server (docs/object-stores.md)"
        )


def _honours_conditions(bucket: Bucket, place: ObjectPlace, first: str) -> bool:
    with object_faults(place, "write"):
        if not first or not _is_refused(bucket, place, "create"):
            return False
        second = put_if(bucket.client, place.key, b"second", first)
        return second not in {"", first} and _is_refused(bucket, place, first)


def _is_refused(bucket: Bucket, place: ObjectPlace, condition: str) -> bool:
    try:
        put_if(bucket.client, place.key, b"third", condition)
    except (AlreadyExistsError, PreconditionError):
        return True
    except BaseError as error:
        if status_of(error) != _NOT_IMPLEMENTED:
            raise
    return False
