from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import prefect
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flows.server.access import Access
from flows.server.connection import check_access
from flows.server.diagnosis import explain, is_compatible
from flows.server.settings import set_defaults
from tasks.errors import ServerError
from tests.support.rehearsal import ROOT, Rehearsal
from tests.support.servers import free_port


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def web_server(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve the files of a folder over HTTP in this block; yield the port."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Slow(BaseHTTPRequestHandler):
    """Answers as Prefect's server; the first two requests, as one that is busy for a minute."""

    served = threading.Event()
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if len(self.asked) <= 2:
            self.served.wait()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(prefect.__version__).encode())

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return the TLS context of a server with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wenti test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def fault_of(url: str) -> Exception:
    """Return the exception that asking for the server's version raises."""
    try:
        answer = httpx.get(f"{url}/admin/version")
        answer.raise_for_status()
        answer.json()
    except (httpx.HTTPError, ValueError) as fault:
        return fault
    raise AssertionError("it answered")


def refused(rehearsal: Rehearsal, url: str, store: Path) -> str:
    """Run with the server at `url`, which must fail; return the messages."""
    environment = {**rehearsal.environment, "PREFECT_API_URL": url}
    code, messages = replace(rehearsal, environment=environment).run(store)
    assert code == 2
    assert "Traceback" not in messages
    assert not store.exists()
    return messages


def test_an_address_where_nobody_listens_is_named_with_what_to_do(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    messages = refused(rehearsal, url, tmp_path / "store")
    assert f"Prefect's server at {url} cannot be reached" in messages
    assert "correct PREFECT_API_URL, or unset that" in messages


def test_an_address_without_api_says_so(rehearsal: Rehearsal, tmp_path: Path) -> None:
    url = rehearsal.environment["PREFECT_API_URL"].removesuffix("/api")
    messages = refused(rehearsal, url, tmp_path / "store")
    assert "is not a Prefect API" in messages
    assert "PREFECT_API_URL usually ends in /api" in messages


def test_messages_do_not_show_the_password_of_an_address(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    url = f"http://somebody:cucumber@127.0.0.1:{free_port()}/api"
    assert "cucumber" not in refused(rehearsal, url, tmp_path / "store")


@pytest.mark.parametrize(
    ("scheme", "has_tls", "words"),
    [
        ("http", False, "is not a Prefect API (404"),
        ("http", True, "if it speaks HTTPS, write https://"),
        ("https", False, "or write http://"),
        ("https", True, "PREFECT_API_SSL_CERT_FILE"),
        ("ftp", False, "write http:// or https://"),
    ],
)
def test_what_another_server_answers_is_explained(
    tmp_path: Path, scheme: str, has_tls: bool, words: str
) -> None:
    with web_server(tmp_path, self_signed(tmp_path) if has_tls else None) as port:
        url = f"{scheme}://127.0.0.1:{port}/api"
        message = str(explain(url, fault_of(url)))
    assert message.startswith(f"Prefect's server at {url} ")
    assert words in message


def test_a_page_that_is_not_json_is_not_a_prefect_api(tmp_path: Path) -> None:
    page = tmp_path / "api/admin/version"
    page.parent.mkdir(parents=True)
    page.write_text("<html>")
    with web_server(tmp_path) as port:
        message = str(explain("there", fault_of(f"http://127.0.0.1:{port}/api")))
    assert "is not a Prefect API" in message


def test_a_folder_that_prefect_cannot_look_into_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/" + "x" * 300)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # restored afterwards
    with pytest.raises(ServerError, match="Prefect cannot read /xxx"):
        set_defaults()


# Else Python unwinds the thread inside the client's Rust code, which aborts the process.
CHECKING_TO_THE_END = """
import threading
from flows.server import connection
connection.CHECK_SECONDS = 0.0
with connection.connected():
    pass
print([thread.name for thread in threading.enumerate() if thread.name.startswith("wenti")])
"""


def test_no_thread_asks_the_server_while_the_program_ends(rehearsal: Rehearsal) -> None:
    program = [sys.executable, "-c", CHECKING_TO_THE_END]
    ended = subprocess.run(
        program, env=rehearsal.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


@pytest.mark.parametrize(
    ("theirs", "is_fine"), [("3.8.8", True), ("3.1.0", True), ("2.20.1", False), (None, False)]
)
def test_a_server_of_another_major_version_does_not_go_with_ours(
    theirs: object, is_fine: bool
) -> None:
    assert is_compatible(theirs, "3.8.8") is is_fine


def test_a_server_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.server.connection.CHECK_TIMEOUT_SECONDS", 1.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        check_access(Access(f"http://127.0.0.1:{server.server_port}/api"))
        Slow.served.set()
        server.shutdown()
    assert Slow.asked.count("/api/ready") >= 3
