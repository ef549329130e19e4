"""The journal of a run: what happened to each shard, one JSON line per event.

It is informational: `wenti status` and the reports read it. The store decides what is reused.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from tasks.errors import describe_error
from tasks.store.files import storage_of

logger = logging.getLogger("wenti.journal")

JOURNAL_FILE = "shards.jsonl"
LONGEST_ERROR = 500  # characters


class RowCounts(NamedTuple):
    """The number of rows of a shard with a question, and the number of rejected rows."""

    rows: int
    rejects: int


class ShardEvent(BaseModel):
    """A line of the journal; its keys are written in this order, and only those that are set.

    Attributes:
        shard: number of the shard.
        event: what happened.
        device: the device of the worker, for `made` and `failed`.
        seconds: the duration, for `made`.
        error: the reason, for `failed`.
        rows: rows with a question, for `made` and `reused`; older versions lack it for `reused`.
        rejects: rejected rows, likewise.
        at: seconds from the run's start; older versions lack it.
    """

    model_config = ConfigDict(frozen=True)

    shard: int
    event: Literal["reused", "failed", "made"]
    device: str | None = None
    seconds: float | None = None
    error: str | None = None
    rows: int | None = None
    rejects: int | None = None
    at: float | None = None


class Journal:
    """Writes the events of a run's shards with their times. Thread-safe.

    A run starts when its journal is created, so the journal is also the run's clock.
    """

    def __init__(self, path: PurePath) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def since_start(self, moment: float) -> float:
        """Return the seconds from the run's start to `moment`, a time of `time.monotonic`."""
        return round(moment - self._began, 3)

    def reused(self, shards: Mapping[int, RowCounts]) -> None:
        """Record shards that the store already had."""
        at = self._now()
        self._append(
            ShardEvent(shard=shard, event="reused", **counts._asdict(), at=at)
            for shard, counts in shards.items()
        )

    def failed(self, shard: int, device: str, error: BaseException) -> None:
        """Record a failed attempt; more may follow."""
        text = describe_error(error)[:LONGEST_ERROR]
        self._append(
            [ShardEvent(shard=shard, event="failed", device=device, error=text, at=self._now())]
        )

    def made(self, shard: int, device: str, seconds: float, counts: RowCounts) -> None:
        """Record that a shard was made in `seconds`."""
        self._append(
            [
                ShardEvent(
                    shard=shard,
                    event="made",
                    device=device,
                    seconds=round(seconds, 3),
                    **counts._asdict(),
                    at=self._now(),
                )
            ]
        )

    def _now(self) -> float:
        return self.since_start(time.monotonic())

    def _append(self, events: Iterable[ShardEvent]) -> None:
        written = (one.model_dump(exclude_unset=True) for one in events)
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in written)
        try:
            with self._lock:
                storage_of(self._path).append(self._path, lines.encode(errors="backslashreplace"))
        except OSError as error:  # not worth failing a shard; a full disk fails the next commit
            logger.warning("%s cannot be written: %s", self._path, os.strerror(error.errno or 0))


@dataclass(frozen=True)
class ShardHistory:
    """What a run did about a shard.

    Attributes:
        state: `reused`, `made` or `failed`.
        attempts: the number of attempts.
        last_error: the error of the last failed attempt, even if a later one succeeded.
        device: the device of the last attempt.
        seconds: the duration of the last attempt, including failures it recovered from.
        at: seconds from the run's start to the last event.
        failed_at: seconds from the run's start to each failure.
        rows: rows with a question.
        rejects: rows without one.

    None means unknown: older journals lack times, and the rows of reused shards.
    """

    state: str
    attempts: int = 0
    last_error: str | None = None
    device: str | None = None
    seconds: float | None = None
    at: float | None = None
    failed_at: tuple[float, ...] = ()
    rows: int | None = None
    rejects: int | None = None


def read_journal(path: PurePath) -> dict[int, ShardHistory]:
    """Return what a run did about each shard, by number; empty if there is no journal.

    Lines that cannot be read are skipped.
    """
    histories: dict[int, ShardHistory] = {}
    for event in _read_events(path):
        histories[event.shard] = _after(histories.get(event.shard), event)
    return histories


def _read_events(path: PurePath) -> Iterator[ShardEvent]:
    storage = storage_of(path)
    if not storage.is_file(path):
        return
    for line in storage.read(path).splitlines():
        try:
            # `model_validate_json` rejects lone surrogates, which file names put into errors.
            yield ShardEvent.model_validate(json.loads(line))
        except (ValueError, RecursionError):
            continue  # the truncated last line of a killed run, or a line of another version


def _after(before: ShardHistory | None, event: ShardEvent) -> ShardHistory:
    before = before or ShardHistory("new")
    failed_at = before.failed_at
    if event.event == "failed" and event.at is not None:
        failed_at = (*failed_at, event.at)
    return ShardHistory(
        state=event.event,
        attempts=before.attempts + (event.event != "reused"),
        last_error=before.last_error if event.error is None else event.error,
        device=before.device if event.device is None else event.device,
        seconds=event.seconds,
        at=event.at,
        failed_at=failed_at,
        rows=event.rows,
        rejects=event.rejects,
    )
