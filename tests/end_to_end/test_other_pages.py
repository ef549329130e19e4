"""Who may use the server of `wenti serve`: programs with its secret, its own UI, no other page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.server.access import FILE_NAME
from tests.support.browser import PROGRAM, Browser, Page, PrefectPages, chromium, sync_playwright
from tests.support.rehearsal import Rehearsal
from tests.support.servers import PrefectServer
from tests.support.serving import serving, write_prefect_yaml

# What a page can send to a server of another origin: with a preflight; without one, since an
# untyped body is a "simple request"; as a form; and over a WebSocket, to which CORS does not apply.
ATTEMPTS = """
async ([api, deployment, secret]) => {
  const start = `${api}/deployments/${deployment}/create_flow_run`
  const body = name => JSON.stringify({
    name, enforce_parameter_schema: false,
    state: {type: "SCHEDULED", state_details: {scheduled_time: "2999-01-01T00:00:00Z"}},
    parameters: {config: "demo", overrides: {export: {decoding_lib: "/x"}}}
  })
  const typed = {"Content-Type": "application/json", Authorization: `Basic ${btoa(secret)}`}
  const untyped = {method: "POST", mode: "no-cors"}
  const opened = url => new Promise(done => {
    const socket = new WebSocket(url.replace("http", "ws"), ["prefect"])
    socket.onopen = () => socket.send(JSON.stringify({type: "auth", token: secret}))
    socket.onmessage = message => done(JSON.parse(message.data).type)
    socket.onclose = () => done("closed")
  })
  const posted = () => new Promise(done => {
    const form = document.createElement("form"), field = document.createElement("input")
    const frame = document.createElement("iframe")
    Object.assign(form, {method: "post", enctype: "text/plain", action: start, target: "frame"})
    Object.assign(field, {name: body("form").slice(0, -1) + ', "x": "', value: '"}'})
    Object.assign(frame, {name: "frame", onload: () => done("posted")})
    form.append(field)
    document.body.append(frame, form)
    form.submit()
  })
  const patiently = async (...request) => {  // the server answers 503 while its SQLite is busy
    while (true) {
      const answer = await fetch(...request)
      if (answer.status !== 503) return answer
      await new Promise(done => setTimeout(done, 500))
    }
  }
  const attempts = {
    read: () => patiently(`${api}/admin/version`, {headers: typed}),
    typed: () => patiently(start, {method: "POST", headers: typed, body: body("typed")}),
    untyped: () => fetch(start, {...untyped, body: new Blob([body("untyped")])}),
    text: () => fetch(start, {...untyped, body: body("text")}),
    pause: () => fetch(`${api}/deployments/${deployment}/pause_deployment`, untyped),
    form: posted,
    socket: () => opened(`${api}/events/out`),
  }
  const results = {}
  for (const [name, attempt] of Object.entries(attempts))
    results[name] = await attempt().then(one => one.status ?? one, () => "failed")
  return results
}
"""


@dataclass(frozen=True)
class Served:
    """A running `wenti serve`.

    Attributes:
        server: its server, with the secret.
        folder: for files of the test; PREFECT_HOME is a folder of it.
    """

    server: PrefectServer
    folder: Path

    @property
    def demo(self) -> dict[str, Any]:
        """The deployment `demo`, as Prefect has it."""
        (deployment,) = self.server.post("deployments/filter")
        return dict(deployment)

    def names(self) -> set[str]:
        """Return the names of all runs."""
        return {run["name"] for run in self.server.post("flow_runs/filter")}

    def ask(self, secret: str | None, **headers: str) -> int:
        """Return the status with which the server answers a request that reads its runs."""
        user, _colon, password = (secret or "").partition(":")
        auth = None if secret is None else (user, password)
        url = f"{self.server.url}/flow_runs/filter"
        return httpx.post(url, json={}, headers=headers, auth=auth).status_code


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = PrefectServer(folder / "prefect")
    file = write_prefect_yaml(folder)
    with serving(server, folder / "log", file):
        yield Served(server, folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, chromium(playwright) as browser:
        yield browser


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def website(folder: Path) -> Iterator[str]:
    """Serve a folder at another origin in the block; yield its URL."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def attempt(page: Page, served: Served) -> dict[str, object]:
    """Let a page, which even knows the secret, try to use the server; return what it sees."""
    arguments = [served.server.url, served.demo["id"], served.server.auth]
    return dict(page.evaluate(ATTEMPTS, arguments))


def test_programs_need_the_secret_and_pages_are_our_own(served: Served) -> None:
    secret, port = served.server.auth, served.server.port
    assert served.ask(secret) == 200
    assert served.ask(None) == served.ask("wenti:cucumber") == 401
    for own in (f"http://127.0.0.1:{port}", f"http://localhost:{port}"):
        assert served.ask(secret, Origin=own) == 200
        assert served.ask(None, Origin=own) == 401
    for other in ("null", "http://evil.example", f"http://127.0.0.1:{port + 1}"):
        assert served.ask(secret, Origin=other) == 403
    assert served.ask(secret, Host=f"localhost:{port}") == 200
    evil = f"evil.example:{port}"
    assert served.ask(secret, Host=evil) == 403
    assert served.ask(secret, Host=evil, Origin=f"http://{evil}") == 403
    assert httpx.get(f"{served.server.url}/health", headers={"Host": evil}).status_code == 403


def test_the_log_tells_where_the_secret_is_but_not_the_secret(served: Served) -> None:
    said, file = (served.folder / "log").read_text(), served.server.folder / FILE_NAME
    (line,) = (line for line in said.splitlines() if "Prefect's UI" in line)
    assert line.endswith(f"sign in with the PREFECT_API_AUTH_STRING in {file}")
    assert str(served.server.auth) not in said


def test_a_run_uses_the_server_of_wenti_serve(
    served: Served, rehearsal: Rehearsal, tmp_path: Path
) -> None:
    environment = dict(served.server.environment)
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        del environment[name]
    before = served.names()
    code, messages = replace(rehearsal, environment=environment).run(tmp_path / "store")
    assert code == 0, messages
    assert f"using the server of `wenti serve` at {served.server.url}" in messages
    assert len(served.names() - before) == 1
    rehearsal.check(tmp_path / "store")


def test_a_sender_sets_only_what_prefect_yaml_allows(served: Served, tmp_path: Path) -> None:
    harm = {"aggregate": {"output_path": str(tmp_path / "x")}, "export": {"decoding_lib": "/x"}}
    start = f"deployments/{served.demo['id']}/create_flow_run"
    parameters = {"config": "configs/demo.yaml", "overrides": harm}
    run = served.server.post(start, parameters=parameters, enforce_parameter_schema=False)
    seen: dict[str, Any] = {"state_type": "SCHEDULED"}
    while seen["state_type"] in {"SCHEDULED", "PENDING", "RUNNING"}:
        time.sleep(0.5)
        (seen,) = served.server.post("flow_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
    assert seen["state_type"] == "FAILED"
    for key in ("config", "aggregate.output_path", "export.decoding_lib"):
        assert f"{key}: " in seen["state"]["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ui
@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_pages_of_other_websites_and_files_start_nothing_and_see_nothing(
    served: Served, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("<title>another page</title>")
    before = served.names()
    with website(tmp_path) as address, browser.new_context() as context:
        for url in (f"{address}/page.html", (tmp_path / "page.html").as_uri()):
            page = context.new_page()
            page.goto(url)
            seen = attempt(page, served)
            # Without a preflight, the page cannot know that the request was refused.
            blind = {"untyped": 0, "text": 0, "pause": 0, "form": "posted"}
            assert seen == {"read": "failed", "typed": "failed", "socket": "closed", **blind}
    assert served.names() == before
    assert not served.demo["paused"]


@pytest.mark.ui
@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_ui_asks_for_the_secret_and_works_with_it(
    served: Served, browser: Browser, tmp_path: Path, host: str
) -> None:
    address = f"http://{host}:{served.server.port}"
    with browser.new_context() as context:
        page = context.new_page()
        pages = PrefectPages(page, address, tmp_path)
        page.goto(address)
        pages.sign_in(str(served.server.auth))
        pages.open_form("demo")
        pages.field("num_beams").wait_for()
        assert pages.page.get_by_role("button", name="Select allow_partial").count() == 1
        for key in ("output_path", "decoding_lib", "inference_model_dir"):
            assert pages.field(key).count() == 0
        # The same attempts as of other pages; this shows that they work where they are allowed.
        seen = attempt(page, served)
        assert (seen["read"], seen["typed"], seen["socket"]) == (200, 201, "auth_success")
    assert "typed" in served.names()
