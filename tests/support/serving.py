"""`wenti serve` with its own server, in a process that tests start and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml

from flows.server.access import FILE_NAME, read_access
from tests.support.rehearsal import ROOT, WENTI
from tests.support.servers import PrefectServer

ALLOWED = ("config", "store.path", "model", "dataset", "export", "shards", "predict")
"""What the parameters of `Rehearsal` set."""


def write_prefect_yaml(folder: Path, **changes: object) -> Path:
    """Write our own prefect.yaml with changes to the deployment `demo`; return its path."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    (demo,) = (one for one in content["deployments"] if one["name"] == "demo")
    demo.update(changes)
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def wait_until(is_so: Callable[[], object], process: psutil.Popen, log: Path) -> None:
    """Wait for a condition until the tests' time limit, while `wenti serve` is running."""
    while not is_so():
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.1)


@contextmanager
def serving(
    server: PrefectServer, log: Path, file: Path, cwd: Path = ROOT, **variables: str
) -> Iterator[psutil.Popen]:
    """Run `wenti serve demo` in this block, started as in a terminal, with its own server.

    Args:
        server: has its port and its PREFECT_HOME; gets the secret that it asks for.
        log: file for its output.
        file: the prefect.yaml.
        cwd: the folder in which it is started.
        variables: further environment variables.
    """
    environment = {
        **server.environment,
        "PREFECT_SERVER_API_PORT": str(server.port),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # seconds between checks for runs to start
        **variables,
    }
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        environment.pop(name, None)
    with log.open("w") as output:
        process = psutil.Popen(
            [str(WENTI), "serve", "demo", "--file", str(file)],
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "serving question-generation/demo" in log.read_text(), process, log)
        access = read_access(server.folder / FILE_NAME)
        assert access is not None
        assert access.url == server.url
        server.auth = access.secret
        yield process
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        for each in (process, *children):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
