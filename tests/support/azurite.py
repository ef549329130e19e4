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
from urllib.parse import unquote, urlencode

from tests.support.object_servers import ObjectServer, running

VARIABLE = "WENTI_AZURITE"
ACCOUNT, CONTAINER = "wentitest", "wenti-test"
KEY = base64.b64encode(b"wenti-test-secret of an account ").decode()
SIGNED = {"se": "2099-01-01T00:00:00Z", "sv": "2020-10-02"}  # until when, and the version


def _sign(claims: dict[str, str], *signed: str) -> str:
    """Return a shared access signature as the query of a URL; it is the HMAC of `signed`."""
    digest = hmac.new(base64.b64decode(KEY), "\n".join(signed).encode(), hashlib.sha256).digest()
    return urlencode({**claims, **SIGNED, "sig": base64.b64encode(digest).decode()})


def sign_container(may: str) -> str:
    """Return what allows so much in the container, such as `rl`: to read and to list."""
    place = f"/blob/{ACCOUNT}/{CONTAINER}"
    empty = [""] * 3
    signed = [may, "", SIGNED["se"], place, *empty, SIGNED["sv"], "c", *empty, *empty]
    return _sign({"sp": may, "sr": "c"}, *signed)


def _sign_creation() -> str:
    """Return what allows to make containers in the account."""
    may = {"sp": "c", "ss": "b", "srt": "c"}
    return _sign(may, ACCOUNT, *may.values(), "", SIGNED["se"], "", "", SIGNED["sv"], "")


READER, WRITER = sign_container("rl"), sign_container("rcwdl")


def _secrets_in(signature: str) -> tuple[str, str]:
    """Return the secret part of a signature, as it is in a URL and as it is."""
    secret = signature.partition("&sig=")[2]
    return secret, unquote(secret)


class Azurite(ObjectServer):
    """Keeps the blobs of one account on disk."""

    bucket = f"az://{CONTAINER}"
    credentials: ClassVar[dict[str, str]] = {"AZURE_STORAGE_SAS_KEY": WRITER}
    reader: ClassVar[dict[str, str]] = {"AZURE_STORAGE_SAS_KEY": READER}
    secrets = (KEY, *_secrets_in(READER), *_secrets_in(WRITER))
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
        url = f"{self.url}/{CONTAINER}?restype=container&{_sign_creation()}"
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
