"""Real servers of object stores in processes that tests start, stop, kill and restart.

`make test-s3` installs them and names their folders in WENTI_S3_SERVERS and WENTI_AZURITE.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from unittest import mock

import obstore
import pytest

from tasks.errors import StorageError
from tasks.store.objects.connection import open_client
from tests.support.servers import free_ports

VARIABLE = "WENTI_S3_SERVERS"
KEY, READER, SECRET = "WENTITESTKEY", "WENTIREADER", "wenti-test-secret-0123456789"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
}
BUCKET = "s3://wenti-test"


@dataclass
class ObjectServer(ABC):
    """A server with one bucket.

    Attributes:
        kind: which server it is.
        folder: its files.
        bucket: address of the bucket.
        credentials: variables of the environment.
        reader: those of somebody who may only read.
        secrets: what must not be written anywhere.
        endpoint_variable: names the server in the environment.
        key_variable: one with a secret.
        path: of its URL.
        part: what the request has that uploads a part of a file.
    """

    kind: str
    folder: Path
    _ports: list[int] = field(default_factory=lambda: free_ports(8))
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    bucket: ClassVar[str]
    credentials: ClassVar[dict[str, str]]
    reader: ClassVar[dict[str, str]]
    secrets: ClassVar[tuple[str, ...]]
    endpoint_variable: ClassVar[str]
    key_variable: ClassVar[str]
    part: ClassVar[str]
    path: ClassVar[str] = ""

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._ports[0]

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Start it, always on the same port, and wait until the bucket can be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        while self._process.poll() is None:
            with suppress(StorageError, OSError, obstore.exceptions.BaseError):
                self._make_bucket()
                return
            time.sleep(0.3)
        raise AssertionError((self.folder / "log").read_text()[-4000:])

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that starts it."""

    @abstractmethod
    def _make_bucket(self) -> None:
        """Make the bucket, if it is not there; fails while the server does not answer."""


class S3Server(ObjectServer):
    """`seaweedfs`, which keeps objects on disk, or `moto`, which keeps them in memory."""

    bucket = BUCKET
    credentials: ClassVar[dict[str, str]] = CREDENTIALS
    reader: ClassVar[dict[str, str]] = {**CREDENTIALS, "AWS_ACCESS_KEY_ID": READER}
    secrets = (SECRET,)
    endpoint_variable = "AWS_ENDPOINT_URL"
    key_variable = "AWS_SECRET_ACCESS_KEY"
    part = "partNumber="

    def _command(self) -> list[str]:
        programs = Path(os.environ[VARIABLE])
        if self.kind == "moto":
            return [str(programs / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        name = BUCKET.removeprefix("s3://")
        users = {
            "ADMIN": ["Admin", "Read", "List", "Write"],
            KEY: [f"Read:{name}", f"List:{name}", f"Write:{name}"],
            READER: [f"Read:{name}", f"List:{name}"],
        }
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": may}
            for key, may in users.items()
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        parts = ("master", "volume", "filer")
        ports = zip(
            [*parts, *(f"{part}.port.grpc" for part in parts)], self._ports[1:], strict=False
        )
        options = {
            **{name if "grpc" in name else f"{name}.port": port for name, port in ports},
            "s3.port.grpc": self._ports[-1],
            "s3.port": self.port,
            "s3.config": "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 100,
            "ip": "127.0.0.1",
            "dir": ".",
        }
        given = [f"-{name}={value}" for name, value in options.items()]
        return [str(programs / "weed"), "server", "-filer", "-s3", *given]

    def _make_bucket(self) -> None:
        if self.kind == "moto":  # SeaweedFS makes it at the first PUT
            request = urllib.request.Request(f"{self.url}/{BUCKET[5:]}", method="PUT")  # noqa: S310
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310 our own
        with mock.patch.dict(os.environ, {**CREDENTIALS, "AWS_ACCESS_KEY_ID": "ADMIN"}):
            client = open_client(BUCKET, self.url, 5, 0)
        obstore.put(client, ".made", b"")
        obstore.delete(client, ".made")


@contextmanager
def running(server: ObjectServer, variable: str) -> Iterator[None]:
    """Run a server until the block ends; skip the test if the variable does not say where it is."""
    if variable not in os.environ:
        pytest.skip(
            f"needs the servers of make test-s3, which installs Azurite by npm ({variable})"
        )
    try:
        server.start()
        yield
    finally:
        server.kill()


@contextmanager
def s3_server(kind: str, folder: Path) -> Iterator[S3Server]:
    """Yield a running server, killed at the end; skip the test where none is installed."""
    server = S3Server(kind, folder)
    with running(server, VARIABLE):
        yield server
