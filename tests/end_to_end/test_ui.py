"""Wenti operated from Prefect's UI: a real browser, a real server, a real `wenti serve`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tasks.config.settings import Settings
from tasks.engine.fake import FAULTS_VARIABLE
from tests.support.browser import DRAW_RARELY, PROGRAM, PrefectPages, chromium, sync_playwright
from tests.support.rehearsal import ROOT, WENTI
from tests.support.servers import MakeHome, PrefectServer, prefect_server

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed"),
]

PICTURES = "WENTI_PICTURES"  # the variable with a folder for screenshots, such as docs/pictures
PATIENCE = 900.0  # seconds
DEPLOYMENTS = {"demo", "nightly", "question-generation", "rerun"}
TYPED = {
    "predict_file": "passages.jsonl",
    "allow_partial": True,
    "num_beams": 4,
    "rows_per_shard": 4,
}
REHEARSED = {"predict_file": "mixed.jsonl", "engine": "fake", "rows_per_shard": 4}
# A device without memory for the long passages, and for the rows that an engine is tried on.
TOO_SMALL = {"padded_tokens_that_fit": 90}


@dataclass(frozen=True)
class Workplace:
    """A user's folder in which `wenti serve` runs, and what a user sees there without a browser."""

    folder: Path
    server: PrefectServer
    serving: psutil.Process

    @property
    def store(self) -> Path:
        return self.folder / "wenti-store"

    @property
    def record(self) -> dict[str, Any]:
        """Return the run.json of the newest run."""
        return dict(json.loads((self.store / "runs/newest/run.json").read_bytes()))

    @property
    def questions(self) -> dict[str, str]:
        """Return the questions of the newest run by the ids of the passages."""
        lines = (self.store / "runs/newest/predictions.jsonl").read_text(encoding="utf-8")
        return {row["id"]: row["question"] for row in map(json.loads, lines.splitlines())}

    def shards(self) -> set[Path]:
        return set(self.store.glob("predictions/*/shard-*.json"))

    @property
    def has_worker(self) -> bool:
        """Whether a run has a child process."""
        children = self.serving.children(recursive=True)
        return any("multiprocessing.spawn" in command(one) for one in children)

    def make_faulty(self, **faults: int) -> None:
        """Inject faults into every worker of the fake engine that is started from now on."""
        (self.folder / "faults.json").write_text(json.dumps(faults))

    def seen_by_prefect(self, run: str) -> dict[str, Any]:
        return dict(self.server.post("flow_runs/filter", flow_runs={"id": {"any_": [run]}})[0])

    def count_runs(self) -> int:
        return int(self.server.post("flow_runs/count", deployments={"name": {"any_": ["demo"]}}))

    def complaint(self, *arguments: str) -> str:
        """Return the error message of a command in this folder."""
        done = subprocess.run(
            [str(WENTI), *arguments],
            cwd=self.folder,
            env=self.server.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        return done.stderr.removeprefix("wenti: ")


@dataclass(frozen=True)
class Started:
    """A run that was started with the form: its id in Prefect, and its record."""

    id: str
    record: dict[str, Any]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def write_passages(folder: Path) -> None:
    """Write twelve passages with references, twelve without (long ones inside), and many."""
    lines = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    by_length = sorted(lines, key=len)
    mixed = [json.loads(line) for line in by_length[:4] + by_length[-4:] + by_length[4:8]]
    for passage in mixed:
        del passage["question"]
    contents = {"passages": lines[:12], "mixed": map(json.dumps, mixed), "many": lines * 5}
    for name, content in contents.items():
        (folder / f"{name}.jsonl").write_text("\n".join(content), encoding="utf-8")


@contextmanager
def served(folder: Path, server: PrefectServer) -> Iterator[psutil.Process]:
    """Run `wenti serve` in this block."""
    variables = {
        FAULTS_VARIABLE: str(folder / "faults.json"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # seconds between checks for runs to start
    }
    with (folder / "serve.log").open("wb") as log:
        process = psutil.Popen(
            [str(WENTI), "serve"],
            cwd=folder,
            env={**server.environment, **variables},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while {one["name"] for one in server.post("deployments/filter")} != DEPLOYMENTS:
            assert process.poll() is None, (folder / "serve.log").read_text(encoding="utf-8")
            time.sleep(0.2)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def place(
    make_prefect_home: MakeHome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "prefect.yaml", folder)
    (folder / "data").symlink_to(ROOT / "data")
    write_passages(folder)
    with prefect_server(make_prefect_home(), ui=True) as server, served(folder, server) as serving:
        place = Workplace(folder, server, serving)
        place.make_faulty()
        yield place


@pytest.fixture(scope="module")
def pages(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectPages]:
    """An empty browser window."""
    chosen = os.environ.get(PICTURES)
    pictures = Path(chosen) if chosen else tmp_path_factory.mktemp("pictures")
    with sync_playwright() as playwright, chromium(playwright) as browser:
        page = browser.new_page(
            viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="Asia/Shanghai"
        )
        page.set_default_timeout(120_000)
        pages = PrefectPages(page, place.server.url.removesuffix("/api"), pictures)
        page.add_init_script(DRAW_RARELY)
        yield pages


@pytest.fixture(autouse=True)
def last_look(pages: PrefectPages, tmp_path: Path) -> Iterator[None]:
    """Save a screenshot at the end of each test, to help find the cause of a failure."""
    yield
    pages.page.screenshot(path=tmp_path / "last.png")
    pages.rest()


@pytest.fixture(scope="module")
def demo(place: Workplace, pages: PrefectPages) -> Started:
    """A run of the demo with four changed settings, started with the form and completed."""
    pages.open_form("demo")
    pages.fill(TYPED)
    pages.field("num_beams").evaluate("field => field.scrollIntoView({block: 'center'})")
    pages.picture("form")
    run = pages.submit()
    pages.wait_for_state(run, "Completed")
    return Started(run, place.record)


def test_the_form_overrides_what_was_typed_and_nothing_else(
    place: Workplace, demo: Started
) -> None:
    parameters = place.seen_by_prefect(demo.id)["parameters"]
    sections = {
        "dataset": "predict_file",
        "aggregate": "allow_partial",
        "decode": "num_beams",
        "shards": "rows_per_shard",
    }
    typed = {section: {key: TYPED[key]} for section, key in sections.items()}
    assert parameters == {"config": "demo", "day": None, "overrides": typed}

    expected = Settings().as_dict()
    in_the_file = yaml.safe_load((place.folder / "configs/demo.yaml").read_bytes())
    for changes in (in_the_file, typed):
        for section, values in changes.items():
            expected[section] |= values
    assert demo.record["config"] == expected
    assert demo.record["state"] == "completed"


def test_a_run_is_named_by_what_runs(place: Workplace, pages: PrefectPages, demo: Started) -> None:
    seen = place.seen_by_prefect(demo.id)
    day = datetime.fromisoformat(seen["expected_start_time"]).astimezone().date()
    name = f"question-generation/demo/{day}/{demo.id[-4:]}"
    pages.open_run(demo.id, "Task Runs")
    assert pages.main.get_by_text(name).first.is_visible()
    for task in ("export the model", "load the passages", "shard 2 of 3", "aggregate the shards"):
        pages.main.get_by_role("link", name=task).first.wait_for()


def test_a_run_is_tagged_by_its_config_its_model_and_its_day(
    place: Workplace, demo: Started
) -> None:
    seen = place.seen_by_prefect(demo.id)
    day = datetime.fromisoformat(seen["expected_start_time"]).astimezone().date()
    assert set(seen["tags"]) == {"config:demo", "model:checkpoint", f"day:{day}"}


def test_the_words_of_the_workers_are_in_the_log_of_the_run(
    pages: PrefectPages, demo: Started
) -> None:
    pages.open_run(demo.id, "Logs")
    pages.main.get_by_text("worker on cpu: the model is loaded").first.wait_for()
    pages.main.get_by_text("shard 2 of 3: made, 4 rows").first.wait_for()


def test_a_runs_page_shows_its_progress_shards_and_summary(
    place: Workplace, pages: PrefectPages, demo: Started
) -> None:
    pages.open_run(demo.id, "Artifacts")
    pages.main.get_by_text("12 of 12 rows").first.wait_for()
    pages.picture("run")

    pages.open_artifact(demo.id, "wenti-progress-demo")
    pages.main.get_by_text("Progress: 100%").first.wait_for()

    pages.open_artifact(demo.id, "wenti-shards-demo")
    pages.main.get_by_text(
        f"reused 0, made 3, failed 0 (run {demo.record['run_id']})"
    ).first.wait_for()
    assert pages.cells("shard", "state", "rows") == [[str(at), "made", "4"] for at in range(3)]

    pages.open_artifact(demo.id, "wenti-summary-demo")
    pages.main.get_by_role("heading", name="Figures").wait_for()
    summary = pages.main.inner_text()
    assert "12 in, 12 questions, 0 rejected" in summary
    assert "BLEU-4" in summary
    assert sum(question in summary for question in place.questions.values()) == 10
    assert pages.main.get_by_role("row", name="decode.num_beams 4 6").is_visible()


def test_a_value_outside_its_limits_is_refused_in_the_form(
    place: Workplace, pages: PrefectPages, demo: Started
) -> None:
    before = place.count_runs()
    pages.open_form("demo")
    pages.fill({"num_beams": 0})
    pages.press_submit()
    assert pages.field("num_beams").evaluate("field => field.validity.rangeUnderflow")
    pages.fill(
        {"num_beams": 4, "topp": 0}
    )  # must be above 0, which the server checks but a form field cannot
    pages.press_submit()
    pages.refusals.get_by_text("0 is less than or equal to the minimum of 0").first.wait_for()
    assert place.count_runs() == before > 0


def test_values_that_do_not_go_together_end_a_run_with_the_message_of_the_command_line(
    place: Workplace, pages: PrefectPages
) -> None:
    runs = set(place.store.glob("runs/2*"))
    pages.open_form("demo")
    pages.page.get_by_label("Run Name", exact=True).fill("too short a question")
    pages.fill({"max_dec_len": 8, "min_dec_len": 9})
    run = pages.submit()
    pages.wait_for_state(run, "Failed")
    assert place.seen_by_prefect(run)["name"] == "too short a question"  # not one of Wenti's
    overrides = ("--set", "decode.max_dec_len=8", "--set", "decode.min_dec_len=9")
    complaint = " ".join(place.complaint("run", "demo", *overrides).split())
    assert "allowed here: at most max_dec_len = 8" in complaint
    assert pages.main.get_by_text(complaint, exact=True).is_visible()
    pages.open_run(run, "Logs")
    pages.main.get_by_text(complaint, exact=True).first.wait_for()
    assert "Traceback" not in pages.main.inner_text()
    assert set(place.store.glob("runs/2*")) == runs


def test_retry_makes_the_shards_that_failed_and_reuses_the_others(
    place: Workplace, pages: PrefectPages
) -> None:
    pages.open_form("demo")
    pages.fill(REHEARSED)
    place.make_faulty(**TOO_SMALL)
    run = pages.submit()
    pages.wait_for_state(run, "Failed")
    assert pages.main.get_by_text("1 of 3 shards failed").is_visible()
    pages.open_artifact(run, "wenti-shards-demo")
    states = [["1", "failed"], ["0", "made"], ["2", "made"]]
    assert pages.cells("shard", "state") == states
    assert "OutOfMemoryError" in pages.cells("last error")[0][0]
    pages.picture("shards")

    place.make_faulty()
    pages.use_menu(run, "Retry")
    pages.confirm("Retry")
    pages.wait_for_state(run, "Completed")
    pages.open_run(run, "Details")
    pages.main.get_by_text("reused 2, made 1, failed 0").first.wait_for()
    pages.picture("retried")
    assert len(place.questions) == 12


def test_cancel_stops_the_workers(place: Workplace, pages: PrefectPages, demo: Started) -> None:
    before = place.shards()
    pages.open_form("demo")
    pages.fill({**TYPED, "predict_file": "many.jsonl"})
    run = pages.submit()
    # The first shards have known rows only, for which no worker is started.
    wait_until(lambda: place.shards() > before and place.has_worker)
    workers = place.serving.children(recursive=True)

    pages.use_menu(run, "Cancel")
    pages.confirm("Cancel Flow Run")
    wait_until(lambda: not any(map(is_alive, workers)))
    pages.wait_for_state(run, "Cancelled")
    assert place.record["config"]["dataset"]["predict_file"] == "many.jsonl"
    assert (place.record["state"], place.record["error"]) == ("interrupted", "cancelled in Prefect")
    assert place.serving.is_running()


def test_a_copy_of_a_run_reuses_everything(
    place: Workplace, pages: PrefectPages, demo: Started
) -> None:
    pages.use_menu(demo.id, "Copy to new run")
    copy = pages.submit()
    pages.wait_for_state(copy, "Completed")
    pages.main.get_by_text("reused 3, made 0, failed 0").first.wait_for()
    assert place.record["config"] == demo.record["config"]
    assert place.record["run_id"] != demo.record["run_id"]


def test_a_rerun_makes_the_shards_that_were_asked_for(
    place: Workplace, pages: PrefectPages, demo: Started
) -> None:
    pages.open_form("rerun")
    pages.fill({"run": demo.id, "shards": "0,2", "force": True})
    run = pages.submit()
    pages.wait_for_state(run, "Completed")
    pages.main.get_by_text("reused 1, made 2, failed 0").first.wait_for()
    assert place.record["rerun_of"] == demo.record["run_id"]
    assert len(place.questions) == 12


def test_the_nights_to_come_are_scheduled_once_the_schedule_is_switched_on(
    place: Workplace, pages: PrefectPages
) -> None:
    pages.open_deployment("nightly")
    pages.main.get_by_role("switch").click()
    pages.main.get_by_role("switch", checked=True).wait_for()
    pages.page.get_by_role("tab", name="Upcoming").click()
    pages.main.get_by_text("01:30:00 AM").first.wait_for()


def command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
