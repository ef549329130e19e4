"""Real S3 servers in processes that tests start, stop, kill and restart.

`make test-s3` installs them and names their folder in WENTI_S3_SERVERS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
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
class S3Server:
    """A server with one bucket, `BUCKET`.

    Attributes:
        kind: `seaweedfs`, which keeps objects on disk, or `moto`, which keeps them in memory.
        folder: its files.
    """

    kind: str
    folder: Path
    _ports: list[int] = field(default_factory=lambda: free_ports(8))
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._ports[0]

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

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
def s3_server(kind: str, folder: Path) -> Iterator[S3Server]:
    """Yield a running server, killed at the end; skip the test where none is installed."""
    if VARIABLE not in os.environ:
        pytest.skip("needs the servers of make test-s3")
    server = S3Server(kind, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
