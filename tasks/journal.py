"""The journal of a run: what happened to each shard, a line of JSON for each event.

It is for people: `wenti status` and the reports read it. What is reused is decided by the store.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import describe_error

logger = logging.getLogger("wenti.journal")

JOURNAL_FILE = "shards.jsonl"
LONGEST_ERROR = 500  # characters


class Journal:
    """Writes the events of a run's shards; several threads may."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def reused(self, shards: Iterable[int]) -> None:
        """Note the shards that the store already had."""
        self._append({"shard": shard, "event": "reused"} for shard in shards)

    def failed(self, shard: int, device: str, error: BaseException) -> None:
        """Note a failed attempt; there may be another."""
        text = describe_error(error)[:LONGEST_ERROR]
        self._append([{"shard": shard, "event": "failed", "device": device, "error": text}])

    def made(self, shard: int, device: str, seconds: float, details: Mapping[str, Any]) -> None:
        """Note that a shard was made, with its manifest's details."""
        facts = {"rows": details["rows"], "rejects": len(details["rejects"])}
        took = {"device": device, "seconds": round(seconds, 3)}
        self._append([{"shard": shard, "event": "made", **took, **facts}])

    def _append(self, events: Iterable[Mapping[str, object]]) -> None:
        lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        try:
            with self._lock, self._path.open("ab") as file:
                file.write(lines.encode(errors="backslashreplace"))
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
    """

    state: str
    attempts: int = 0
    last_error: str | None = None
    device: str | None = None
    seconds: float | None = None


def read_journal(path: Path) -> dict[int, ShardHistory]:
    """Give the history of every shard that a run has touched, none if there is no journal."""
    histories: dict[int, ShardHistory] = {}
    for event in _read_events(path):
        shard = event["shard"]
        histories[shard] = _after(histories.get(shard), event)
    return histories


def _read_events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue


def _after(before: ShardHistory | None, event: Mapping[str, Any]) -> ShardHistory:
    if event["event"] == "reused":
        return ShardHistory("reused")
    return ShardHistory(
        state=event["event"],
        attempts=1 + (before.attempts if before else 0),
        last_error=event.get("error", before.last_error if before else None),
        device=event["device"],
        seconds=event.get("seconds"),
    )
