"""The journal of a run: what happened to each shard, a line of JSON for each event.

It is for people: `wenti status` and the reports read it. What is reused is decided by the store.
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
from typing import Any

from tasks.errors import describe_error
from tasks.store.files import storage_of

logger = logging.getLogger("wenti.journal")

JOURNAL_FILE = "shards.jsonl"
LONGEST_ERROR = 500  # characters


class Journal:
    """Writes the events of a run's shards, and when they were; several threads may.

    A run begins when its journal does: it is the run's clock, too.
    """

    def __init__(self, path: PurePath) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def since_start(self, moment: float) -> float:
        """Give the seconds from the run's start to a moment of `time.monotonic`."""
        return round(moment - self._began, 3)

    def reused(self, shards: Mapping[int, Mapping[str, Any]]) -> None:
        """Note shards that the store already had, each with its manifest's details."""
        self._append(
            {"shard": shard, "event": "reused", **_count(details)}
            for shard, details in shards.items()
        )

    def failed(self, shard: int, device: str, error: BaseException) -> None:
        """Note a failed attempt; there may be another."""
        text = describe_error(error)[:LONGEST_ERROR]
        self._append([{"shard": shard, "event": "failed", "device": device, "error": text}])

    def made(self, shard: int, device: str, seconds: float, details: Mapping[str, Any]) -> None:
        """Note that a shard was made, with its manifest's details."""
        took = {"device": device, "seconds": round(seconds, 3)}
        self._append([{"shard": shard, "event": "made", **took, **_count(details)}])

    def _append(self, events: Iterable[Mapping[str, object]]) -> None:
        at = {"at": self.since_start(time.monotonic())}
        lines = "".join(json.dumps({**one, **at}, ensure_ascii=False) + "\n" for one in events)
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
        device: that it was last tried on.
        seconds: that it took to make, all attempts together.
        at: seconds from the run's start to the last event.
        failed_at: the same of each attempt that failed.
        rows: that it has.
        rejects: that its making gave.

    What is None is not known; older journals tell no times, nor the rows of reused shards.
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
    """Give the history of every shard that a run has touched, none if there is no journal."""
    histories: dict[int, ShardHistory] = {}
    for event in _read_events(path):
        shard = event["shard"]
        histories[shard] = _after(histories.get(shard), event)
    return histories


def _read_events(path: PurePath) -> Iterator[dict[str, Any]]:
    storage = storage_of(path)
    if not storage.is_file(path):
        return
    for line in storage.read(path).splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue


def _count(details: Mapping[str, Any]) -> dict[str, int]:
    return {"rows": details["rows"], "rejects": len(details["rejects"])}


def _after(before: ShardHistory | None, event: Mapping[str, Any]) -> ShardHistory:
    before, state, at = before or ShardHistory("new"), event["event"], event.get("at")
    is_failure = state == "failed"
    return ShardHistory(
        state=state,
        attempts=before.attempts + (state != "reused"),
        last_error=event.get("error", before.last_error),
        device=event.get("device", before.device),
        seconds=event.get("seconds"),
        at=at,
        failed_at=(*before.failed_at, at) if is_failure and at is not None else before.failed_at,
        rows=event.get("rows"),
        rejects=event.get("rejects"),
    )
