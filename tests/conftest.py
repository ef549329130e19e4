"""Shared fixtures: Prefect's test server, finished runs to disturb, folders to work in."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import hypothesis
import pytest

from tasks.config.overrides import parse_overrides
from tasks.engine.paddle.generations.generation import find_generation
from tasks.environment import importing
from tasks.load.dataset import LoadRequest
from tasks.store.layout import Store
from tests.support.azurite import Azurite, azurite_server
from tests.support.commands import RunFlow, demo_overrides, made_once
from tests.support.load_requests import make_request, write_vocabulary
from tests.support.object_servers import S3Server, s3_server
from tests.support.rehearsal import ROOT, Rehearsal, outside_environment, write_passages
from tests.support.servers import MakeHome, copy_home, make_home
from tests.support.shelf import Shelf

# These must be set before anything imports Prefect or Paddle.
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
# No test fails because a machine is busy.
hypothesis.settings.register_profile(
    "wenti", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("wenti")
# The tests run in several processes, and on small matrices a second thread mostly spins.
os.environ["OMP_NUM_THREADS"] = "1"
# What a shell without job control starts in the background ignores Ctrl-C, and so do its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests without a search for garbage, which would take a third of the time."""
    with importing():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    number = find_generation().number
    for item in items:
        for wanted in {2, 3} - {number}:
            if item.get_closest_marker(f"paddle{wanted}"):
                item.add_marker(pytest.mark.skip(reason=f"needs Paddle {wanted}"))


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME with a database without runs; tests must not change it, but copy it."""
    return made_once(tmp_path_factory, "home", lambda folder: make_home(folder / "home")) / "home"


@pytest.fixture(scope="session")
def make_prefect_home(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeHome:
    """A function that makes the PREFECT_HOME of a server that need not make its database first."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("prefect")
        copy_home(prefect_home, folder)
        return folder

    return make


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[None]:
    from prefect.testing import utilities

    folder = mkdtemp()  # for its database; the harness removes it when the process ends
    copy_home(prefect_home, Path(folder), "prefect-test.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: folder)
        with utilities.prefect_test_harness(server_startup_timeout=600):
            yield


@pytest.fixture(scope="module", autouse=True)
def _events_go_to_the_server_of_the_module() -> Iterator[None]:
    """End Prefect's worker for events, which keeps the address of the server that it has found.

    The tests of other modules talk to other servers, and listen to what is logged.
    """
    yield
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=60, at_exit=False)


@pytest.fixture(scope="session")
def run_demo(prefect_server: None) -> RunFlow:
    """A function that runs the first rows of the demo with the test's own store and overrides."""
    from flows.question_generation import question_generation

    def run(store: Path, *overrides: str) -> dict[str, Any]:
        values, _no_faults = parse_overrides([*demo_overrides(store), *overrides])
        return question_generation(str(ROOT / "configs/demo.yaml"), overrides=values)

    return run


@pytest.fixture(scope="session")
def demo_store(run_demo: RunFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished run of the demo; tests must not change it, but copy it."""
    return made_once(tmp_path_factory, "demo", lambda folder: run_demo(folder / "store")) / "store"


@pytest.fixture
def store(demo_store: Path, tmp_path: Path) -> Path:
    """The test's own copy of a store with a finished run of the demo."""
    copy = tmp_path / "store"
    shutil.copytree(demo_store, copy, symlinks=True)
    return copy


@pytest.fixture(scope="session")
def server_url(prefect_server: None) -> str:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    assert url is not None
    return url


@pytest.fixture(scope="session")
def rehearsal(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A small job on the fake engine that has run once undisturbed."""
    outside = outside_environment(server_url, tmp_path_factory.mktemp("prefect"))
    # Other tests look at the log lines that Prefect has; sending them takes a quarter of a run.
    environment = {**outside, "PREFECT_LOGGING_TO_API_ENABLED": "false"}

    def at(folder: Path) -> Rehearsal:
        return Rehearsal(folder / "passages.jsonl", environment, folder / "store", is_warm=True)

    def make(folder: Path) -> None:
        write_passages(folder / "passages.jsonl", rows=30)
        code, messages = at(folder).run(folder / "store")
        assert code == 0, messages

    return at(made_once(tmp_path_factory, "rehearsal", make))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with only the files that the tokenizer needs."""
    folder = tmp_path_factory.mktemp("model")
    write_vocabulary(folder)
    return folder


@pytest.fixture
def load_request(tmp_path: Path, model_folder: Path) -> LoadRequest:
    """A request to load passages; the test writes their file."""
    return make_request(tmp_path, model_folder)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty store for the test to fill."""
    return Shelf(Store(tmp_path / "store"))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server that keeps objects on disk."""
    with s3_server("seaweedfs", tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server that keeps objects in memory."""
    with s3_server("moto", tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A real server of Azure Blob Storage that keeps blobs on disk."""
    with azurite_server(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "wenti-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
