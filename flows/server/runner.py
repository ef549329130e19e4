"""Prefect's runner, which starts the runs of served deployments; ours ends them when it is stopped.

Prefect's own would leave them behind: it says Running of them for ever, and so does run.json.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from uuid import UUID

import anyio
import httpx
from prefect.exceptions import PrefectException
from prefect.runner import Runner, _starter_engine
from prefect.states import Crashed
from prefect.utilities.processutils import run_process

logger = logging.getLogger("wenti.serving")

STOPPED = "`wenti serve` was stopped; what was made is kept, and Retry goes on from there"
GRACE_SECONDS = 20.0  # until a run that was asked to end is killed
STOP_SECONDS = 30.0  # until the server has to know
LOOK_SECONDS = 0.2


class ServingRunner(Runner):
    """Starts runs until SIGTERM or Ctrl-C, then ends those that go on; a second signal hurries."""

    def run(self) -> None:
        """Start the runs of the deployments that were added, until a signal.

        Raises:
            KeyboardInterrupt: a second signal came before the runs had ended.
        """
        # Ctrl-C in a terminal would reach the runs too, to be followed by our SIGTERM while they
        # write how they ended. Prefect has no option for a session of their own.
        in_session = partial(run_process, start_new_session=True)
        _starter_engine.run_process = in_session  # type: ignore[attr-defined]
        for number in (signal.SIGINT, signal.SIGHUP):  # to SIGTERM Prefect sees by itself
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.handle_sigterm)
        asyncio.run(self._run())

    async def _run(self) -> None:
        try:
            await self.start()
        except asyncio.CancelledError:
            if not self.stopping:
                raise

    def handle_sigterm(self, *_signal: object) -> None:
        """Begin to stop; not here, in the middle of anything, but as the loop's next task."""
        if not self.started:  # it only starts, or it stops already
            raise KeyboardInterrupt
        self.execute_in_background(self.astop)

    async def cancel_all(self) -> None:
        """End every run and wait for it; also one that was about to start. `astop` calls it."""
        logger.info("stopping; runs that go on are ended, what they made is kept")
        with anyio.move_on_after(STOP_SECONDS) as patience:
            while self._limiter is not None and self._limiter.borrowed_tokens:
                await asyncio.gather(*map(self._end, self._process_manager.flow_run_ids()))
                await asyncio.sleep(LOOK_SECONDS)
        if patience.cancelled_caught:
            logger.warning("Prefect's server does not answer; it goes on showing them as Running")
            self._runs_task_group.cancel_scope.cancel()

    async def _end(self, run: UUID) -> None:
        """End a run by SIGTERM, or at last by SIGKILL, and say why."""
        # It leaves it to us to tell the server.
        await self._control_channel.signal(run, "relinquish")
        await self._process_manager.kill(run, GRACE_SECONDS)
        try:
            state = (await self._client.read_flow_run(run)).state
            if state is not None and (state.is_crashed() or not state.is_final()):
                await self._client.set_flow_run_state(run, Crashed(message=STOPPED), force=True)
        except (httpx.HTTPError, PrefectException) as fault:
            logger.warning("Prefect was not told that run %s has ended: %s", run, fault)
