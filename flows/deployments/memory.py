"""What `wenti serve` remembers of a deployment, in a variable of Prefect's server.

The server has the deployment and its schedules, so it has this too: it is the same for whoever
serves the deployment, and lost only together with it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from pydantic import TypeAdapter, ValidationError

from flows.deployments.schedules import Applied

TAG = "wenti-serve"
MOST = 200  # variables in an answer of the server


@dataclass(frozen=True)
class Server:
    """A `wenti serve`: its machine, its process and when that started."""

    host: str
    process: int
    started: str

    @classmethod
    def of(cls, process: int) -> Server:
        """Return the one with this process on this machine."""
        return cls(platform.node(), process, _start_of(process))

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.host == platform.node()

    @property
    def is_running(self) -> bool:
        """Whether it is another process on this machine that is running."""
        is_other = self.process != os.getpid()
        return self.is_here and is_other and _start_of(self.process) == self.started


@dataclass(frozen=True)
class Memory:
    """What `wenti serve` remembers of a deployment.

    Attributes:
        name: the deployment's name in Prefect, with that of its flow.
        file: the absolute path of its prefect.yaml, with the name of the machine.
        schedules: the schedules of the file.
        paused: what the file says of the deployment.
        server: which process served it last.
    """

    name: str
    file: str
    schedules: list[Applied] = field(default_factory=list)
    paused: bool | None = None
    server: Server = field(default_factory=lambda: Server.of(os.getpid()))


_MEMORY = TypeAdapter(Memory)


def place_of(file: Path) -> str:
    """Return how a file is remembered."""
    return f"{platform.node()}:{file.absolute()}"


def recall(client: SyncPrefectClient, deployment: UUID) -> Memory | None:
    """Return what is remembered of a deployment; None without anything that can be used."""
    variable = client.read_variable_by_name(_name(deployment))
    return None if variable is None else _parse(variable.value)


def recall_all(client: SyncPrefectClient) -> Iterator[tuple[UUID, Memory]]:
    """Yield the id of each deployment of which something is remembered, and what."""
    wanted = {"variables": {"tags": {"all_": [TAG]}}, "limit": MOST}
    for variable in client.request("POST", "/variables/filter", json=wanted).json():
        memory = _parse(variable["value"])
        if memory is not None:
            yield UUID(variable["name"].removeprefix(_PREFIX)), memory


def remember(client: SyncPrefectClient, deployment: UUID, memory: Memory) -> None:
    """Remember this of a deployment, instead of what was remembered before."""
    name, value = _name(deployment), asdict(memory)
    if client.read_variable_by_name(name) is None:
        client.create_variable(VariableCreate(name=name, value=value, tags=[TAG]))
    else:
        client.update_variable(VariableUpdate(name=name, value=value, tags=[TAG]))


def forget(client: SyncPrefectClient, deployment: UUID) -> None:
    """Remember nothing of a deployment any more."""
    client.delete_variable_by_name(_name(deployment))


_PREFIX = "wenti_serve_"


def _name(deployment: UUID) -> str:
    return f"{_PREFIX}{deployment}"


def _parse(value: Any) -> Memory | None:  # noqa: ANN401 whatever the variable has
    try:
        return _MEMORY.validate_python(value)
    except ValidationError:  # of another version, or edited
        return None


def _start_of(process: int) -> str:
    """Return when a process of this machine started, in clock ticks since boot; empty if none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # field 22; the name of the program has any sign
