"""Stores of every kind for the tests of a storage: local, in memory, on real servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from obstore.store import MemoryStore

from tasks.addresses import ObjectPlace
from tasks.store import claims
from tasks.store.objects import connection, leases
from tests.support.object_servers import ObjectServer

SERVERS = ("seaweedfs", "moto", "azurite")


def use_memory(folder: Path, monkeypatch: pytest.MonkeyPatch, scheme: str = "s3") -> ObjectPlace:
    """Return the place of a store in this process's memory, which obstore treats as a bucket."""
    memory = MemoryStore()
    monkeypatch.setattr(connection, "open_client", lambda *_: memory)
    return _connected(f"{scheme}://memory-{secrets.token_hex(8)}", None, folder, monkeypatch)


def use_server(server: ObjectServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    """Return the place of a new store on a server."""
    for name, value in server.credentials.items():
        monkeypatch.setenv(name, value)
    return _connected(server.bucket, server.url, folder, monkeypatch)


def _connected(
    bucket: str, endpoint: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ObjectPlace:
    monkeypatch.setenv(connection.VARIABLE, "{}")  # restored afterwards
    place = ObjectPlace(f"{bucket}/{secrets.token_hex(8)}/store")
    connection.connect(place, endpoint, str(folder / "cache"))
    return place


def hurry(monkeypatch: pytest.MonkeyPatch, stale: float = 15.0) -> None:
    """Let leases be renewed and looked at more often, and become stale after `stale` seconds."""
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "STALE_SECONDS", stale)


def stores(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PurePath]:
    """Yield the place of a new store of the kind that is the fixture's parameter."""
    hurry(monkeypatch)
    if request.param == "local":
        yield folder / "store"
    elif request.param == "memory":
        yield use_memory(folder, monkeypatch)
    else:
        server = request.getfixturevalue(request.param)
        yield use_server(server, folder, monkeypatch)


EVERY_KIND = [
    "local",
    "memory",
    *(pytest.param(kind, marks=pytest.mark.s3) for kind in SERVERS),
]
