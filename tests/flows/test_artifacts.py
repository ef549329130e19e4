"""What Prefect's server stores for the page of a run."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, LogFilter
from prefect.client.schemas.filters import LogFilterFlowRunId as OfFlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from flows.artifacts import RowsArtifact, rows_artifact, show_results
from flows.question_generation import question_generation
from tasks.errors import ConfigError, WorkerError
from tasks.predict.progress import Pace, Progress
from tasks.runs.journal import RowCounts
from tasks.runs.run import Run
from tests.support.planned_jobs import plan_job, write_job
from tests.support.rehearsal import ROOT, outside_environment

ENTRYPOINT = "flows/question_generation.py:question_generation"


def test_a_fault_of_the_config_is_one_message_without_tracebacks(
    server_url: str, tmp_path: Path
) -> None:
    parameters = {"config": str(tmp_path / "nowhere.yaml")}
    with pytest.raises(ConfigError, match="no such file") as fault:
        question_generation(**parameters)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(question_generation, parameters=parameters).id
        execute(str(run), outside_environment(server_url, tmp_path))
        state = client.read_flow_run(run).state
        of_run = LogFilter(flow_run_id=OfFlowRun(any_=[run]))
        lines = client.read_logs(of_run, sort=LogSort.TIMESTAMP_ASC)
    assert state is not None
    assert (state.name, state.message) == ("Failed", str(fault.value))
    assert [line.message for line in lines if line.level >= 40] == [str(fault.value)]
    assert not any("Traceback" in line.message for line in lines)


def test_a_store_that_cannot_be_read_costs_a_run_only_its_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")
    metrics = {"predictions": 3, "partial": False, "rows_in": 3, "rejects": 0, "rows_missing": 0}
    with caplog.at_level("WARNING", "wenti.run_page"):
        show_results(plan, Run.start(plan), metrics)  # without predictions.parquet
    (line,) = caplog.messages
    assert line.startswith("the run's page in Prefect is incomplete")


def execute(run: str, environment: dict[str, str]) -> None:
    """Execute a flow run as `wenti serve` and a worker do."""
    subprocess.run(
        [sys.executable, "-m", "prefect.engine", run],
        cwd=ROOT,
        env={**environment, "PREFECT__FLOW_ENTRYPOINT": ENTRYPOINT},
        capture_output=True,
        check=True,
    )


class Busy(BaseHTTPRequestHandler):
    """Answers that it cannot answer now, and counts the requests."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(503)
        self.send_header("Retry-After", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


@pytest.mark.filterwarnings("ignore:Artifact creation outside:FutureWarning")
def test_no_work_waits_minutes_for_a_server_to_show_its_progress(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")
    artifact = RowsArtifact(Run.start(plan, config_file="configs/demo.yaml"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 7}):
            artifact.follow(Pace())
        server.shutdown()
    assert len(Busy.asked) == 2  # for the token that Prefect asks for first, and once more
    assert "the run's page in Prefect is incomplete" in caplog.text


@pytest.mark.usefixtures("prefect_server")
def test_the_progress_of_a_run_that_fails_says_which_rows_it_leaves(tmp_path: Path) -> None:
    plan = plan_job(write_job(tmp_path), f"store.path={tmp_path / 'store'}")
    run = Run.start(plan, config_file="configs/Ünder_way.v2.yaml")

    @flow
    def work() -> None:
        run.journal.reused({0: RowCounts(900, 0)})
        with rows_artifact(run) as artifact:
            progress = Progress(artifact.follow)
            progress.start(2000)
            for _attempt in range(3):
                progress.advance(1000)
                artifact.update()
                run.journal.failed(1, "cpu", WorkerError("died"))
            run.journal.made(2, "cpu", 1.0, RowCounts(499, 1))
            raise WorkerError("died")

    with pytest.raises(WorkerError):
        work()
    key = ArtifactFilterKey(any_=["wenti-progress-under-way-v2"])
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    assert shown.description == "Predict: ended after 500 of 2,000 rows"
    assert shown.data == 25
