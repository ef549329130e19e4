"""Opening buckets: which server, which cache, and how patient.

Credentials come from the environment or from the role of the instance, as obstore finds them; Wenti
neither reads nor writes them. Endpoint and cache of a store are passed to child processes, and to
the nodes of a cluster, by an environment variable, because a place tells only the bucket.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.addresses import ObjectPlace, find_endpoint_fault
from tasks.errors import InstallationError
from tasks.store.objects.clouds.known import cloud_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from tasks.store.objects.storage import ObjectStorage

VARIABLE = "WENTI_OBJECT_STORES"
DEFAULT_CACHE = "~/.cache/wenti/objects"

_SECONDS, _LEASE_SECONDS = 1800, 4  # a large file in one answer takes long
_RETRIES, _LEASE_RETRIES = 10, 2


def connect(place: ObjectPlace, endpoint: str | None, cache: str | None) -> None:
    """Let this process and its children use an endpoint and a cache for the bucket of a place."""
    known = {**_read_variable(), place.bucket: {"endpoint": endpoint, "cache": cache}}
    os.environ[VARIABLE] = json.dumps(known)


def describe_stores() -> dict[str, str]:
    """Return the variable by which processes on other machines use the servers of this one.

    It has no credentials: an endpoint of the environment that may have some is left out.
    """
    known = {
        bucket: {**chosen, "endpoint": chosen["endpoint"] or _endpoint_here(ObjectPlace(bucket))}
        for bucket, chosen in _read_variable().items()
    }
    return {VARIABLE: json.dumps(known)}


def open_storage(place: ObjectPlace) -> ObjectStorage:
    """Return the storage of a place.

    Raises:
        InstallationError: obstore is not installed.
        StorageError: a part of the credentials is missing.
    """
    chosen = _read_variable().get(place.bucket, {})
    return _open(place.bucket, chosen.get("endpoint"), chosen.get("cache"))


@lru_cache
def _open(bucket: str, endpoint: str | None, cache: str | None) -> ObjectStorage:
    try:
        from tasks.store.objects.bucket import Bucket
        from tasks.store.objects.cache import Cache
        from tasks.store.objects.faults import object_faults
        from tasks.store.objects.storage import ObjectStorage
    except ModuleNotFoundError as error:
        raise InstallationError(
            f"{bucket} needs the package obstore: pip install 'wenti[s3]'"
        ) from error
    with object_faults(ObjectPlace(bucket), "open"):  # such as half of the credentials
        client = open_client(bucket, endpoint, _SECONDS, _RETRIES)
        leases = open_client(bucket, endpoint, _LEASE_SECONDS, _LEASE_RETRIES)
    folder = Path(cache or DEFAULT_CACHE).expanduser()
    return ObjectStorage(Bucket(client), leases, Cache(folder))


def open_client(bucket: str, endpoint: str | None, seconds: int, retries: int) -> ObjectStore:
    """Return a client that gives a request so much time, and so many attempts more."""
    cloud = cloud_of(ObjectPlace(bucket))
    url = endpoint or cloud.find_url()
    return cloud.open(
        bucket,
        url,
        {
            "allow_http": (url or "").startswith("http:"),
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=seconds),
        },
        {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=min(seconds, 60)),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
    )


def _endpoint_here(bucket: ObjectPlace) -> str | None:
    url = cloud_of(bucket).find_url()
    return None if url is None or find_endpoint_fault(url) else url


def _read_variable() -> dict[str, dict[str, str | None]]:
    known: dict[str, dict[str, str | None]] = json.loads(os.environ.get(VARIABLE) or "{}")
    return known
