"""The journal of a run: what happened to each shard, a line of JSON for each event.

It is for people: `wenti status` and the reports read it. The store decides what is reused.
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
    """How many rows of a shard have a question, and how many were rejected."""

    rows: int
    rejects: int


class ShardEvent(BaseModel):
    """A line of the journal; its keys are written in this order, and only those that are set.

    Attributes:
        shard: number of the shard.
        device: of the worker that made it or failed.
        seconds: that it took, for `made`.
        error: for `failed`.
        rows: of the shard, for `reused` and `made`; older versions left them out of `reused`.
        rejects: the same of its rejects.
        at: seconds from the run's start; older versions left it out.
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
    """Writes the events of a run's shards, and when they were; several threads may.

    A run begins when its journal is made, so the journal is the run's clock, too.
    """

    def __init__(self, path: PurePath) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def since_start(self, moment: float) -> float:
        """Return the seconds from the run's start to a moment of `time.monotonic`."""
        return round(moment - self._began, 3)

    def reused(self, shards: Mapping[int, RowCounts]) -> None:
        """Note shards that the store already had."""
        at = self._now()
        self._append(
            ShardEvent(shard=shard, event="reused", **counts._asdict(), at=at)
            for shard, counts in shards.items()
        )

    def failed(self, shard: int, device: str, error: BaseException) -> None:
        """Note a failed attempt; there may be another."""
        text = describe_error(error)[:LONGEST_ERROR]
        self._append(
            [ShardEvent(shard=shard, event="failed", device=device, error=text, at=self._now())]
        )

    def made(self, shard: int, device: str, seconds: float, counts: RowCounts) -> None:
        """Note that a shard was made."""
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
        except OSError as error:  # no reason to fail a shard; a full disk will soon say so itself
            logger.warning("%s cannot be written: %s", self._path, os.strerror(error.errno or 0))


@dataclass(frozen=True)
class ShardHistory:
    """What a run did about a shard.

    Attributes:
        state: `reused`, `made` or `failed`.
        attempts: how often it was tried.
        last_error: of the last attempt that failed, even if a later one succeeded.
        device: of the last attempt.
        seconds: from the start of the last try to its end, with failures that it recovered from.
        at: seconds from the run's start to the last event.
        failed_at: seconds from the run's start to each failure.
        rows: with a question.
        rejects: rows without one.

    None means not known: older journals have no times and no rows of reused shards.
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
    """Return what a run did about each shard, by number; empty if there is no journal."""
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
            # `model_validate_json` refuses lone surrogates, which names of files bring into errors.
            yield ShardEvent.model_validate(json.loads(line))
        except ValueError:  # the cut last line of a run that was killed, or another version's
            continue


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
