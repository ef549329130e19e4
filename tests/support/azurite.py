"""Azurite, Microsoft's own emulator of Azure Blob Storage, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from unittest import mock
from urllib.parse import quote, urlencode

from tests.support.object_servers import ObjectServer, running

VARIABLE = "WENTI_AZURITE"
ACCOUNT, CONTAINER = "wentitest", "wenti-test"
KEY = base64.b64encode(b"wenti-test-secret of an account ").decode()
VERSION = "2020-10-02"  # of the protocol


def _claims(permissions: str) -> dict[str, str]:
    """Return what a signature allows: blobs, containers and objects, until when, the version."""
    return {"sp": permissions, "ss": "b", "srt": "co", "se": "2099-01-01T00:00:00Z", "sv": VERSION}


def _signature(permissions: str) -> str:
    """Return the HMAC of what Microsoft's documentation of an account's signatures lists."""
    may = _claims(permissions)
    signed = [ACCOUNT, may["sp"], may["ss"], may["srt"], "", may["se"], "", "", may["sv"], ""]
    digest = hmac.new(base64.b64decode(KEY), "\n".join(signed).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _sign(permissions: str) -> str:
    """Return a shared access signature of the account, as the query of a URL."""
    return urlencode({**_claims(permissions), "sig": _signature(permissions)})


READ = "rl"


class Azurite(ObjectServer):
    """Keeps the blobs of one account on disk."""

    bucket = f"az://{CONTAINER}"
    credentials: ClassVar[dict[str, str]] = {"AZURE_STORAGE_ACCOUNT_KEY": KEY}
    reader: ClassVar[dict[str, str]] = {"AZURE_STORAGE_SAS_KEY": _sign(READ)}
    secrets = (KEY, _signature(READ), quote(_signature(READ), safe=""))
    endpoint_variable = "AZURE_STORAGE_ENDPOINT"
    key_variable = "AZURE_STORAGE_ACCOUNT_KEY"
    part = "comp=block&"
    path = f"/{ACCOUNT}"

    def start(self) -> None:
        """Start it with the account of the tests."""
        with mock.patch.dict(os.environ, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}):
            super().start()

    def _command(self) -> list[str]:
        options = ["--location", ".", "--blobPort", str(self.port)]
        # obstore speaks a newer version of the protocol than Azurite knows.
        flags = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        return [str(Path(os.environ[VARIABLE]) / "azurite-blob"), *options, *flags]

    def _make_bucket(self) -> None:
        url = f"{self.url}/{CONTAINER}?restype=container&{_sign('c')}"
        request = urllib.request.Request(url, method="PUT")  # noqa: S310 our own
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 our own
        except urllib.error.HTTPError as error:
            if error.code != 409:  # it is there, after a restart
                raise
            error.close()


@contextmanager
def azurite_server(folder: Path) -> Iterator[Azurite]:
    """Yield a running server, killed at the end; skip the test where it is not installed."""
    server = Azurite("azurite", folder)
    with running(server, VARIABLE):
        yield server
