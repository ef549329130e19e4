"""The automations in docs/automations, on a real server, with the files as shipped."""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apprise.plugins.base import NotifyBase
from apprise.plugins.dingtalk import NotifyDingTalk
from apprise.plugins.feishu import NotifyFeishu
from apprise.plugins.wecombot import NotifyWeComBot
from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.pages import Page
from tests.support.rehearsal import ROOT, SHARDS, Rehearsal, made_by
from tests.support.servers import PREFECT, MakeHome, PrefectServer, prefect_server

AUTOMATIONS = ROOT / "docs/automations"
KINDS = (" are suspect", " rejected many rows", " is partial")
DIES_SOONER = ("within: 240", "within: 10")  # Prefect's minimum

Messages = queue.Queue[tuple[str, dict[str, Any]]]

ROBOT_KEY = "0123456789abcdef"
ROBOTS = (
    NotifyDingTalk(token=ROBOT_KEY),
    NotifyWeComBot(key=ROBOT_KEY),
    NotifyFeishu(token=ROBOT_KEY),
)
SUBJECT, BODY = (
    "Wenti: 夜间运行 failed",
    'shard 3: "{{ body }}" \\\n<http://127.0.0.1:4200/x?a=1&b=2>',
)


@pytest.fixture(scope="module")
def server(make_prefect_home: MakeHome) -> Iterator[PrefectServer]:
    with prefect_server(make_prefect_home()) as server:
        yield server


@pytest.fixture
def here(rehearsal: Rehearsal, server: PrefectServer) -> Rehearsal:
    """The job, run against this server."""
    return replace(rehearsal, environment=server.environment)


@pytest.fixture
def messages() -> Iterator[tuple[str, Messages]]:
    """The URL of a web server, and the messages it has received: the path of each, and its JSON."""
    received = Messages()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/", received
        web.shutdown()
        thread.join()


def create(server: PrefectServer, name: str, folder: Path, old: str, new: str) -> None:
    """Create the automations in a shipped file, with one text replaced."""
    text = (AUTOMATIONS / name).read_text(encoding="utf-8")
    assert old in text
    file = folder / name
    file.write_text(text.replace(old, new), encoding="utf-8")
    command = [str(PREFECT), "automation", "create", "--from-file", str(file)]
    subprocess.run(command, env=server.environment, check=True, capture_output=True)


def kind(message: str) -> int:
    return next(at for at, words in enumerate(KINDS) if words in message)


def newest_run(server: PrefectServer) -> dict[str, Any]:
    run: dict[str, Any] = server.post("flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)[
        0
    ]
    return run


def test_runs_that_are_suspect_partial_rejected_many_rows_or_failed_are_notified(
    here: Rehearsal, server: PrefectServer, tmp_path: Path, messages: tuple[str, Messages]
) -> None:
    url, received = messages
    with temporary_settings({PREFECT_API_URL: server.url}):
        form = {"text": "{{subject}}\n{{body}}"}
        block = CustomWebhookNotificationBlock(name="wenti", url=url, json_data=form)
        block_id = block.save("wenti")
    create(server, "notify.yaml", tmp_path, "BLOCK_ID", str(block_id))

    store = here.store_without_shards(tmp_path / "store")
    predictions = next(here.undisturbed.glob("predictions/*")).name
    shard = f"shard-00003-of-{SHARDS:05d}.parquet"
    (store / "predictions" / predictions / shard).mkdir(
        parents=True
    )  # so that no file can be renamed to it
    code, said = here.run(store, "aggregate.allow_partial=true", "quality.max_rejects=0.05")
    assert code == 0, said
    texts = [received.get(timeout=600)[1]["text"] for _ in range(3)]
    suspect, rejects, partial = sorted(texts, key=kind)
    assert f"{newest_run(server)['name']} are suspect" in suspect
    assert "rejects 3 of 24 (12.5 %); quality.max_rejects is 0.05" in suspect
    assert newest_run(server)["state_name"] == "Suspect"
    assert f"{newest_run(server)['name']} rejected many rows" in rejects
    assert "3 of 30 rows (10.0 %) rejected: missing_field 3" in rejects
    assert f"{newest_run(server)['name']} is partial" in partial
    assert "reused 0, made 4, failed 1; 6 rows are missing" in partial
    for message in (suspect, rejects, partial):
        assert str((store / "runs/latest").resolve()) in message

    code, said = here.run(store)
    assert code == 3, said
    message = received.get(timeout=600)[1]["text"]
    assert f"{newest_run(server)['name']} failed" in message
    assert "1 of 5 shards failed" in message


def forms_of_robots() -> dict[str, dict[str, Any]]:
    """Return the JSON for each group robot in docs/operating.md, by its URL."""
    spans = [code.text for code in Page(ROOT / "docs/operating.md").code]
    pairs = itertools.pairwise(spans)
    return {url: json.loads(form) for url, form in pairs if "{{token}}" in url}


def sent_by_apprise(robot: NotifyBase, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """Return the URL and the JSON that the library Apprise sends for a group robot."""
    sent: list[tuple[str, Any]] = []

    def post(url: str, data: str, **_: object) -> SimpleNamespace:
        sent.append((url.rstrip("/"), json.loads(data)))
        return SimpleNamespace(status_code=200, content=b"{}")

    monkeypatch.setattr("requests.post", post)
    robot.send(body=f"{SUBJECT}\n{BODY}")
    return sent[0]


@pytest.mark.parametrize("robot", ROBOTS, ids=lambda robot: str(robot.service_name))
def test_group_robots_get_what_apprise_would_send_them(
    robot: NotifyBase,
    server: PrefectServer,
    messages: tuple[str, Messages],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected_url, expected = sent_by_apprise(robot, monkeypatch)
    forms = forms_of_robots()
    url = next(url for url in forms if url.replace("{{token}}", ROBOT_KEY) == expected_url)
    web, received = messages
    with temporary_settings({PREFECT_API_URL: server.url}):
        here = re.sub("^https://[^/]+/", web, url)
        secrets = SecretDict({"token": ROBOT_KEY})
        block = CustomWebhookNotificationBlock(
            name="wenti", url=here, json_data=forms[url], secrets=secrets
        )
        block.save("wenti-robot", overwrite=True)
        CustomWebhookNotificationBlock.load("wenti-robot").notify(BODY, SUBJECT)
    path, message = received.get(timeout=60)
    assert expected_url.endswith(path)
    assert (
        message.items() <= expected.items()
    )  # Apprise also tells DingTalk whom to mention: nobody
    assert "Wenti" in str(message)


def test_both_languages_have_the_same_robots() -> None:
    pages = (Page(ROOT / folder / "operating.md") for folder in ("docs", "docs/zh"))
    english, chinese = ([code.text for code in page.code if "{{" in code.text] for page in pages)
    assert english == chinese


def test_a_run_whose_process_was_killed_is_marked_as_crashed_and_the_next_one_goes_on(
    here: Rehearsal, server: PrefectServer, tmp_path: Path
) -> None:
    create(server, "crash-zombies.yaml", tmp_path, *DIES_SOONER)
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"seconds_per_batch": 0.3}))
    store = here.store_without_shards(tmp_path / "store")
    with here.start(store, **{FAULTS_VARIABLE: str(faults)}) as process:
        while not list(store.glob("predictions/*/shard-*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    killed = newest_run(server)
    assert killed["state_type"] == "RUNNING"
    while killed["state_type"] == "RUNNING":  # until the time limit of every test
        time.sleep(0.5)
        killed = newest_run(server)
    assert killed["state_type"] == "CRASHED"
    assert "no heartbeats" in killed["state"]["message"]

    code, said = here.run(store)
    assert code == 0, said
    assert 0 < made_by(store, ["latest"])[0] < SHARDS
    here.check(store)
