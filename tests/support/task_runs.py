"""What Prefect's server knows of the task runs of a flow run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

SECONDS = 600  # until the server has the states of all task runs


def flow_run_of(result: dict[str, Any]) -> str:
    """Return Prefect's id of a run, given what the flow has returned."""
    record = json.loads(Path(result["folder"], "run.json").read_text(encoding="utf-8"))
    return str(record["flow_run_id"])


def seen_in_prefect(flow_run_id: str, count: int) -> dict[str, str]:
    """Return the name of the final state of each task run of a flow run, by the task run's name.

    The server is asked until `count` have ended.
    """
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_id)]))
    until = time.monotonic() + SECONDS
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=wanted)
            states = {one.name: one.state for one in runs}
            ended = {name: str(one.name) for name, one in states.items() if one and one.is_final()}
            if len(ended) >= count or time.monotonic() > until:
                return ended
            time.sleep(0.2)
