"""Early work: workers that start while rows are still being loaded, and what they do until then.

All of it is best effort. Whatever goes wrong only ends it; the predict stage then does everything,
and meets and reports the same fault if it matters.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np

from tasks.errors import StoreCorruptionError, describe_error
from tasks.load.parts import StagedPart, Tell
from tasks.load.row_keys import digest_keys, load_row_keys
from tasks.plan.plan import Plan
from tasks.predict.device_slots import slots
from tasks.predict.early.ranges import Range, Ranges
from tasks.predict.jobs import Selection
from tasks.predict.keys.seen import SeenKeys
from tasks.predict.known_rows import KnownPart, KnownRows, find_known_rows
from tasks.predict.progress import Progress
from tasks.predict.shards import has_shards
from tasks.predict.workers.local import make_local_workers
from tasks.predict.workers.pool import WorkerPool
from tasks.runs.run import Run
from tasks.store.manifest import Manifest

logger = logging.getLogger("wenti.early")


class EarlyWork:
    """The workers of a run, from when the first range of rows is loaded until the run's shards are.

    They start when there are a range (`Ranges`) and the export, if all devices are free. Until the
    dataset is complete they generate ranges; then the predict stage takes them over.

    Attributes:
        began: when they started, in seconds of `time.monotonic`; None if they did not.
    """

    def __init__(self, plan: Plan, run: Run, selection: Selection, progress: Progress) -> None:
        self.began: float | None = None
        self._plan, self._run, self._progress = plan, run, progress
        settings = plan.settings
        self._is_wanted = (
            settings.predict.executor == "local"
            and settings.shards.reuse_rows
            and selection == Selection()
        )
        self._ranges, self._seen = Ranges(plan), SeenKeys()
        self._has_export = self._is_over = False
        self._changed, self._hashing = threading.Condition(), threading.Lock()
        self._decided, self._closed = threading.Event(), threading.Event()
        self._context = copy_context()  # for the log
        self._thread: threading.Thread | None = None
        self._pool: WorkerPool | None = None
        self._known: KnownRows | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def hear(self) -> Tell | None:
        """What is to be told of each part that is complete; None if nothing will be done early."""
        return self._hear if self._is_wanted else None

    def note_export(self) -> None:
        """Note that the export is there."""
        with self._changed:
            self._has_export = True
            self._start()

    @contextmanager
    def handed_over(self, dataset: Manifest) -> Iterator[WorkerPool | None]:
        """Yield the workers, for the dataset that is complete now; None if none have started.

        Each is idle when its batch has ended. At the end of the block they are ended.
        """
        self._end()
        if self._thread is not None:
            self._decided.wait()
        try:
            if self._known is not None:
                self._known.attach(load_row_keys(self._plan.dataset.folder, dataset))
            yield self._pool
        finally:
            self._close()

    def _hear(self, part: StagedPart) -> None:
        with self._changed:
            if not self._ranges.add(part):  # loading failed, and has started again
                self._is_over = True
            self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        is_ready = self._has_export and self._is_wanted and self._ranges.has_next
        if is_ready and self._thread is None and not self._is_over:
            thread = self._make_thread(self._work)
            try:
                thread.start()
            except RuntimeError as error:  # there may be no more threads
                self._give_up(error)
            else:
                self._thread = thread

    def _make_thread(self, target: Callable[[], None]) -> threading.Thread:
        run = partial(self._context.copy().run, target)
        return threading.Thread(target=run, name="early work", daemon=True)

    def _work(self) -> None:
        """Hold the devices and the workers until they are closed."""
        try:
            workers = make_local_workers(self._plan)
            with slots([worker.device for worker in workers], wait=False) as are_free:
                if not are_free or has_shards(self._plan.predictions.folder):
                    return
                known = find_known_rows(self._plan, None)
                if self._closed.is_set():
                    return
                deadline = self._plan.settings.predict.batch_deadline_seconds
                pool = WorkerPool(workers, self._run, self._progress, False, known, deadline)
                self._work_with(pool, known)
        except Exception as error:
            self._give_up(error)
        finally:
            self._decided.set()

    def _work_with(self, pool: WorkerPool, known: KnownRows) -> None:
        logger.info("predicting starts while rows are loaded")
        self.began, self._known, self._pool = time.monotonic(), known, pool
        self._decided.set()
        make = partial(self._make_ranges, pool, known)
        threads = [self._make_thread(make) for _ in range(pool.size)]
        try:
            try:
                for thread in threads:
                    thread.start()
            except RuntimeError as error:  # there may be no more threads
                self._give_up(error)
            self._closed.wait()
        finally:
            pool.close()

    def _make_ranges(self, pool: WorkerPool, known: KnownRows) -> None:
        try:
            while (one := self._take()) is not None:
                pool.begin(*self._look_up(one, known), lambda: self._is_over)
        except StoreCorruptionError:  # the parts are moved to their places: all rows are loaded
            self._end()
        except Exception as error:
            self._give_up(error)

    def _take(self) -> Range | None:
        """Wait for the next range and take it; None if the dataset is complete before."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._ranges.has_next)
            return None if self._is_over else self._ranges.take()

    def _look_up(self, one: Range, known: KnownRows) -> tuple[Range, KnownPart]:
        """Return the job for a range, and which of its rows need no generating.

        These are known rows, and rows that equal one of a range before.
        """
        with self._hashing:
            keys = one.read_keys()
            repeated = np.flatnonzero(self._seen.add(keys[:, 0]))
        part = known.find(keys)
        left_out = {place: place for place in np.setdiff1d(repeated, part.positions).tolist()}
        return one.by_content(digest_keys(keys)), replace(part, copies={**part.copies, **left_out})

    def _give_up(self, error: Exception) -> None:
        if not self._is_over:
            told = describe_error(error)
            logger.info("no more is predicted before all rows are loaded: %s", told)
        self._end()

    def _end(self) -> None:
        """End the generating of ranges, after the batches that are running."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _close(self) -> None:
        """End the workers, whatever they are doing.

        Nobody waits for known rows that are still looked up: no worker has started then.
        """
        self._end()
        self._closed.set()
        if self._thread is not None and self._decided.is_set():
            self._thread.join()
