"""Errors of an object store as messages, without what could tell a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from obstore.exceptions import BaseError

from tasks.errors import ObjectStoreError, StorageError

_STATUS = re.compile(r"status code: (\d{3})|\b([45]\d{2}) [A-Z][a-z]+")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_FULL = re.compile(r"\b507\b|<Code>\w*(?:Quota|InsufficientStorage|StorageFull)")
_NO_CREDENTIALS = re.compile(
    r"169\.254\.\d+\.\d+|CredentialsError|[Mm]issing ?\w*(?:credential|Key)"
)
_CLOCK = re.compile(r"<Code>(?:RequestTimeTooSkewed|RequestExpired)</Code>")
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
        if "NoSuchBucket" in str(error):
            raise StorageError(f"cannot {what} {place}: there is no such bucket") from None
        raise FileNotFoundError(f"{place} does not exist") from None
    except BaseError as error:
        # Without its cause: a server's answer may repeat the access key.
        raise explain(error, place, what) from None


def explain(error: BaseError, place: PurePath, what: str) -> StorageError:
    """Return the message of an error of obstore."""
    text = str(error)
    cannot = f"cannot {what} {place}"
    if "NoSuchBucket" in text:
        return StorageError(f"{cannot}: there is no such bucket")
    if _NO_CREDENTIALS.search(text):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance a role"
        return StorageError(f"{cannot}: there are no credentials; {remedy}")
    if _CLOCK.search(text):
        remedy = "set it, such as with NTP, and run again"
        return StorageError(f"{cannot}: the clock of this machine is wrong; {remedy}")
    if _FULL.search(text):
        remedy = "delete something from it, such as with `wenti gc`, or raise its quota"
        return StorageError(f"{cannot}: the bucket is full; {remedy}")
    if status_of(error) in {401, 403}:
        return StorageError(f"{cannot}: {_REFUSED}{_told(error)}")
    if status_of(error) == _CHANGED:
        return ObjectStoreError(f"{cannot}: it was replaced meanwhile; run again")
    remedy = "nothing is damaged: check `store.endpoint` and the network, then run again"
    return ObjectStoreError(f"{cannot}: the object store fails{_told(error)}; {remedy}")


def status_of(error: BaseError) -> int | None:
    """Return the HTTP status in an error of obstore; None without one."""
    found = _STATUS.search(str(error))
    return int(found[1] or found[2]) if found else None


def _told(error: BaseError) -> str:
    """Return the HTTP status and the code in an error, in parentheses; empty without them."""
    status, code = status_of(error), _CODE.search(str(error))
    known = [str(status)] * (status is not None) + ([code[1]] if code else [])
    return f" ({', '.join(known)})" if known else ""
