from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from flows.server.proxies import prepare_proxies, require_proxy
from tasks.errors import ServerError
from tasks.processes import call_in_child
from tests.support.rehearsal import Rehearsal
from tests.support.servers import free_port

SOCKS = "socks5://127.0.0.1:1080"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def here() -> Iterator[str]:
    """The address of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxy is set; all changes of these variables are undone at the end."""
    for name in (*NAMES, *map(str.upper, NAMES)):
        for variable in (name, f"WENTI_ASIDE_{name}"):
            monkeypatch.setenv(variable, "")  # so that it is restored, also if it is set later
            monkeypatch.delenv(variable)
    return monkeypatch


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": SOCKS},
        {"all_proxy": "socks://127.0.0.1:1080/"},  # as GNOME writes it
        {"HTTP_PROXY": SOCKS, "https_proxy": SOCKS},
        {"http_proxy": "http://127.0.0.1:{dead}"},
        {"HTTP_PROXY": "127.0.0.1:{dead}", "NO_PROXY": "example.com, .example.org"},
        {"ALL_PROXY": SOCKS, "NO_PROXY": "127.0.0.1,localhost"},
        {"http_proxy": "http://127.0.0.1:{dead}", "no_proxy": "::/0,fd00::/8,[::1]"},
        {"http_proxy": "http://127.0.0.1:{dead}", "all_proxy": "http://[::1", "NO_PROXY": ""},
        {"ALL_PROXY": SOCKS, "NO_PROXY": "*"},
    ],
)
def test_no_proxy_is_between_wenti_and_a_server_on_this_machine(
    environment: pytest.MonkeyPatch, here: str, variables: dict[str, str]
) -> None:
    dead = free_port()
    for name, value in variables.items():
        environment.setenv(name, value.format(dead=dead))
    if "*" not in variables.values():
        with pytest.raises((ImportError, ValueError, httpx.HTTPError, httpx.InvalidURL)):
            httpx.get(here, timeout=30)  # before anybody has prepared the environment
    prepare_proxies()
    require_proxy(here)
    assert httpx.get(here, timeout=30).is_success


def read_proxy() -> str | None:
    return os.environ.get("ALL_PROXY")


def test_children_that_may_download_get_the_proxies_of_the_user(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ALL_PROXY", SOCKS)
    prepare_proxies()
    assert "ALL_PROXY" not in os.environ
    assert call_in_child(read_proxy) == SOCKS


@pytest.mark.parametrize(
    ("variables", "url", "named"),
    [
        ({"ALL_PROXY": SOCKS}, "http://prefect.example.com/api", "ALL_PROXY"),
        ({"https_proxy": SOCKS}, "https://prefect.example.com/api", "https_proxy"),
        ({"https_proxy": SOCKS}, "http://prefect.example.com/api", None),
        ({"http_proxy": "http://p:1", "ALL_PROXY": SOCKS}, "http://example.com/api", None),
        ({"ALL_PROXY": SOCKS, "NO_PROXY": ".example.com"}, "http://p.example.com/api", None),
        ({"ALL_PROXY": SOCKS}, "http://127.0.0.9:4200/api", None),
        ({"ALL_PROXY": SOCKS}, f"http://{os.uname().nodename}:4200/api", None),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_if_the_server_is_behind_it(
    environment: pytest.MonkeyPatch, variables: dict[str, str], url: str, named: str | None
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    prepare_proxies()
    if named is None:
        require_proxy(url)
        return
    with pytest.raises(ServerError, match=f"^{named} names a proxy") as caught:
        require_proxy(url)
    assert caught.value.exit_code == 2
    assert "NO_PROXY" in caught.value.remedy


def test_a_run_reaches_its_server_whatever_the_proxies_are(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    code, messages = rehearsal.run(
        tmp_path / "store", ALL_PROXY=SOCKS, http_proxy=dead, HTTPS_PROXY=dead, NO_PROXY="::/0"
    )
    assert code == 0, messages
    rehearsal.check(tmp_path / "store")
