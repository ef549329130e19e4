"""How a flow ends: the state that Prefect shows, and what the caller of the flow receives.

Prefect takes the data of a state that a flow returns for the caller. If the answer to the report of
that state is lost, because the server is busy, Prefect reports it again, and the server answers
with the state that it has, without the data (its rule `PreventDuplicateTransitions`). Therefore the
data is kept here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun, MissingResult
from prefect.states import Completed, Crashed, Failed

from flows.run_context import Stop
from flows.summary import count_shards, tell_rejects, tell_suspicion
from tasks.errors import WentiError
from tasks.escaping import visible
from tasks.report.facts import has_many_rejects
from tasks.runs.run import Run
from tasks.runs.state import is_suspect

_KEPT: ContextVar[list[dict[str, Any] | WentiError]] = ContextVar("kept")


def outcome_of(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call a flow of this package; return what it returns.

    Raises:
        WentiError: what has ended the run.
    """
    kept: list[dict[str, Any] | WentiError] = []
    token = _KEPT.set(kept)
    try:
        return call()
    except (FailedRun, MissingResult):
        if not kept:
            raise
        if isinstance(kept[-1], WentiError):
            raise kept[-1] from None
        return kept[-1]
    finally:
        _KEPT.reset(token)


def final_state(run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the final state of a run: its shards, what is missing, its rejects, what is suspect.

    The caller of the flow receives the state's data: Prefect unwraps a state that a flow returns.
    """
    names = {
        "Suspect": is_suspect(metrics),
        "Partial": metrics["partial"],
        "Many rejects": has_many_rejects(metrics),
    }
    suspicion = (f"{name}: {text}" for name, text in tell_suspicion(metrics).items())
    counts = "; ".join(filter(None, (count_shards(metrics), tell_rejects(metrics), *suspicion)))
    data = {"folder": str(run.folder), "metrics": metrics}
    state: State[dict[str, Any]] = Completed(
        name=next((name for name, is_so in names.items() if is_so), None),
        message=f"{counts} (run {run.folder.name})",
        data=data,
    )
    _keep(data)
    return cast(dict[str, Any], state)


def failed_state(error: WentiError) -> dict[str, Any]:
    """Return the state of a run that an error has ended, with the command line's message.

    Prefect raises the error in the caller of the flow. If the flow raised it, Prefect would put its
    own words before the message.
    """
    message = visible(str(error))
    get_run_logger().error("%s", message)
    _keep(error)
    return cast(dict[str, Any], Failed(message=message, data=error))


def stopped_state(stop: Stop) -> dict[str, Any]:
    """Return the state of a run that was stopped, but not by a cancellation."""
    return cast(dict[str, Any], Crashed(message=stop.message))


def _keep(outcome: dict[str, Any] | WentiError) -> None:
    kept = _KEPT.get(None)
    if kept is not None:  # the flow was called by `outcome_of`
        kept.append(outcome)
