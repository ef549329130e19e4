"""The runner of `wenti serve`: Prefect's, but it ends its runs when it is stopped.

Prefect's own `Runner.handle_sigterm` waits for `Runner.stop` in the thread of the event loop that
`stop` needs; the runs are left behind, and Prefect shows them as Running for ever. This module uses
public interfaces only: methods of `Runner` that other public methods call, and an event loop of our
own, which knows the process of each run because it starts it.

A run that is ended reports this itself by the state that its flow returns. A process that had to be
killed, or had not reached its flow yet, cannot report; its run is marked here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException
from prefect.runner import Runner
from prefect.states import Crashed, Failed

from flows.run_context import SERVED_VARIABLE, Stop
from tasks.escaping import shorten

logger = logging.getLogger("wenti.serving")

RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"  # tells `python -m prefect.engine` which run to execute
GRACE_SECONDS = 20.0  # from SIGTERM to SIGKILL
STOP_SECONDS = 30.0  # for ending the runs and reporting it to the server
POLL_SECONDS = 0.2
START_SECONDS = 1.0  # between two looks at a run that is active
END_POLLS = 50  # until a run whose process has ended has a final state
LONGEST_MESSAGE = 500  # characters

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)


class RunLoop(asyncio.SelectorEventLoop):
    """An event loop that starts the process of each run in a session of its own, and can end it.

    Attributes:
        started: the processes of active runs and of the run started last, by run id.
        stopped: the runs that `stop_runs` has ended or prevented from starting.
        parameters: the names of the parameters of a deployment's flow, by the deployment's id.
    """

    def __init__(self, parameters: Mapping[UUID, Collection[str]]) -> None:
        super().__init__()
        self.parameters = parameters
        self.started: dict[UUID, asyncio.SubprocessTransport] = {}
        self.stopped: set[UUID] = set()
        self._is_stopping = False
        # The runs have one end of a pipe. That the other one is closed, also by the death of this
        # process, tells them why they are stopped.
        self._theirs, ours = os.pipe()
        self._our_end = ExitStack()
        self._our_end.callback(os.close, ours)
        self._stories: set[asyncio.Task[None]] = set()

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], Protocol],
        *command: Any,  # noqa: ANN401 as asyncio has it
        **options: Any,  # noqa: ANN401
    ) -> tuple[asyncio.SubprocessTransport, Protocol]:
        """Start a process as asyncio does.

        Raises:
            OSError: it is the process of a run, and `stop_runs` was called.
        """
        run = (options.get("env") or {}).get(RUN_VARIABLE)
        if run is None:
            return await super().subprocess_exec(protocol_factory, *command, **options)
        if self._is_stopping:
            self.stopped.add(UUID(run))
            raise OSError(Stop.SERVE)
        # Otherwise Ctrl-C would reach the run too, followed by our SIGTERM while it records how it
        # ended.
        options["start_new_session"] = True
        options["env"] = {**options["env"], SERVED_VARIABLE: str(self._theirs)}
        options["pass_fds"] = (*options.get("pass_fds", ()), self._theirs)
        process, protocol = await super().subprocess_exec(protocol_factory, *command, **options)
        self.started = {**self._running(), UUID(run): process}
        if self._is_stopping:  # `stop_runs` was called during the await
            self.stopped.add(UUID(run))
            process.terminate()
        story = self.create_task(log_run(UUID(run), process, self.parameters))
        self._stories.add(story)
        story.add_done_callback(self._stories.discard)
        return process, protocol

    def close(self) -> None:
        """Close the loop, and the pipe with it."""
        if not self.is_closed():
            self._our_end.close()
            os.close(self._theirs)
        super().close()

    async def tell_ends(self) -> None:
        """Wait until the end of every run has been logged."""
        await asyncio.gather(*self._stories, return_exceptions=True)

    async def stop_runs(self) -> None:
        """End all runs by SIGTERM, after `GRACE_SECONDS` by SIGKILL, and start no more."""
        self._is_stopping = True
        self._our_end.close()
        running = self._running()
        self.stopped |= running.keys()
        for process in running.values():
            process.terminate()
        deadline = self.time() + GRACE_SECONDS
        while self._running() and self.time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        for process in self._running().values():
            process.kill()

    def _running(self) -> dict[UUID, asyncio.SubprocessTransport]:
        started = self.started.items()
        return {run: process for run, process in started if process.get_returncode() is None}


class ServingRunner(Runner):
    """Starts runs until SIGTERM or Ctrl-C, then ends active runs; a second signal stops at once.

    Attributes:
        parameters: see `RunLoop`.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(pause_on_shutdown=False, limit=limit)
        self.parameters: dict[UUID, Collection[str]] = {}

    def run(self) -> None:
        """Start the runs of the added deployments until a signal arrives.

        Raises:
            KeyboardInterrupt: a second signal came before the runs had ended.
        """
        for number in (signal.SIGINT, signal.SIGHUP):  # `start` sets the handler of SIGTERM
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.handle_sigterm)
        self.run_loop = RunLoop(self.parameters)
        with asyncio.Runner(loop_factory=lambda: self.run_loop) as loop:
            loop.run(self.serve())

    async def serve(self) -> None:
        """Start runs until `astop` is called, then mark those that were ended."""
        try:
            async with asyncio.timeout(None) as self.patience:
                await self.start()
                await mark_as_stopped(self.run_loop.stopped)
                await self.run_loop.tell_ends()
        except TimeoutError:
            if not self.patience.expired():
                raise
            logger.warning(
                "Prefect's server does not answer; it will still show the stopped runs as Running"
            )

    def handle_sigterm(self, *_signal: object) -> None:
        """Start stopping, as a task of the loop, because a signal may arrive at any point."""
        if not self.started:  # not yet, or not any more
            raise KeyboardInterrupt
        self.execute_in_background(self.astop)

    async def cancel_all(self) -> None:
        """End every run and start no more; called by `astop`."""
        logger.info("stopping; active runs are ended, their finished work is kept")
        self.patience.reschedule(self.run_loop.time() + STOP_SECONDS)
        await self.run_loop.stop_runs()


async def mark_as_stopped(runs: Collection[UUID]) -> None:
    """Mark runs whose processes were ended as Crashed, with the reason.

    Runs that have reported this themselves, or had just ended in another way, are left unchanged.
    """
    async with get_client() as client:
        for run in runs:
            try:
                await _mark_as_stopped(client, run)
            except (httpx.HTTPError, PrefectException) as fault:
                logger.warning("cannot report to Prefect that run %s has ended: %s", run, fault)


async def _mark_as_stopped(client: PrefectClient, run: UUID) -> None:
    state = (await client.read_flow_run(run)).state
    message = Stop.SERVE.message
    if state is None or state.message == message:
        return
    if state.is_crashed() or not state.is_final():
        await client.set_flow_run_state(run, Crashed(message=message), force=True)


async def log_run(
    run: UUID,
    process: asyncio.SubprocessTransport,
    parameters: Mapping[UUID, Collection[str]],
) -> None:
    """Log when a run has started and how it has ended, with its name and its state's message.

    Args:
        run: its id.
        process: the one that executes it.
        parameters: see `RunLoop`.
    """
    try:
        async with get_client() as client:
            ended = await _log_start(client, run, process)
            _log_end(await _explain_crash(client, ended, parameters))
    except (httpx.HTTPError, PrefectException) as fault:
        logger.warning("cannot ask Prefect about run %s: %s", run, fault)


async def _log_start(
    client: PrefectClient, run: UUID, process: asyncio.SubprocessTransport
) -> FlowRun:
    """Log when a run has started; return it when it has ended."""
    is_started = False
    while process.get_returncode() is None:
        if not is_started:
            seen = await client.read_flow_run(run)
            is_started = seen.state is not None and seen.state.is_running()
            if is_started:  # only now the run has its name
                logger.info("%s started", seen.name)
        await asyncio.sleep(START_SECONDS)
    for _poll in range(END_POLLS):
        seen = await client.read_flow_run(run)
        if seen.state is None or seen.state.is_final():
            break
        await asyncio.sleep(POLL_SECONDS)  # Prefect's runner reports a process that has died
    return seen


async def _explain_crash(
    client: PrefectClient, run: FlowRun, parameters: Mapping[UUID, Collection[str]]
) -> FlowRun:
    """Let a run say that it has parameters which its flow does not have, if it crashed with some.

    Prefect's server accepts them, and the process that should start the flow only ends.
    """
    known = parameters.get(run.deployment_id) if run.deployment_id else None
    unknown = [] if known is None else sorted(run.parameters.keys() - {*known})
    if not unknown or run.state is None or not run.state.is_crashed():
        return run
    message = f"no such parameter: {', '.join(unknown)}; known: {', '.join(known or ()) or 'none'}"
    await client.set_flow_run_state(run.id, Failed(message=message), force=True)
    return await client.read_flow_run(run.id)


def _log_end(run: FlowRun) -> None:
    state = run.state
    if state is None:
        return
    is_expected = state.message == Stop.SERVE.message or state.is_cancelled()
    is_good = is_expected or state.name == "Completed"
    message = shorten(state.message or "", LONGEST_MESSAGE)
    end = f"{state.name}: {message}" if message else state.name
    logger.log(logging.INFO if is_good else logging.WARNING, "%s ended: %s", run.name, end)
