from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tasks.errors import BatchTimeoutError, WorkerError
from tasks.runs.journal import Journal, RowCounts, ShardHistory, read_journal

COUNTS = RowCounts(rows=7, rejects=1)


def test_what_happened_to_each_shard_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    journal = Journal(path)
    journal.reused({0: COUNTS, 1: COUNTS})
    journal.failed(2, "gpu:0", WorkerError("died"))
    journal.failed(3, "gpu:1", WorkerError("died"))
    journal.failed(2, "gpu:1", BatchTimeoutError("hung"))
    journal.made(2, "gpu:0", 1.5, COUNTS)
    journal.made(4, "gpu:0", 0.5, COUNTS)
    journal.reused({3: COUNTS})  # another run has made it in the meantime
    events = [json.loads(line) for line in path.read_text().splitlines()]
    times = [event["at"] for event in events]
    assert times == sorted(times)
    assert times[0] >= 0
    counts = {"rows": 7, "rejects": 1}
    died, hung = "WorkerError: died", "BatchTimeoutError: hung"
    assert read_journal(path) == {
        0: ShardHistory("reused", at=times[0], **counts),
        1: ShardHistory("reused", at=times[1], **counts),
        2: ShardHistory(*("made", 3, hung, "gpu:0", 1.5, times[5], (times[2], times[4])), **counts),
        3: ShardHistory("reused", 1, died, "gpu:1", None, times[7], (times[3],), **counts),
        4: ShardHistory("made", 1, None, "gpu:0", 0.5, times[6], **counts),
    }


def test_times_count_from_the_start_of_the_journal(tmp_path: Path) -> None:
    before = time.monotonic()
    journal = Journal(tmp_path / "shards.jsonl")
    now = time.monotonic()
    assert 0 <= journal.since_start(now) <= now - before + 0.001  # rounded
    assert journal.since_start(now + 5) == round(journal.since_start(now) + 5, 3)


def test_a_journal_of_an_older_wenti_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    events = [
        {"shard": 0, "event": "reused"},
        {"shard": 1, "event": "failed", "device": "cpu", "error": "died"},
        {"shard": 1, "event": "made", "device": "cpu", "seconds": 2.0, "rows": 7, "rejects": 1},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert read_journal(path) == {
        0: ShardHistory("reused"),
        1: ShardHistory("made", 2, "died", "cpu", 2.0, rows=7, rejects=1),
    }


def test_each_event_is_a_line_with_the_keys_of_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    journal = Journal(path)
    journal.reused({0: COUNTS, 1: COUNTS})
    journal.failed(2, "gpu:0", WorkerError("死于 \udce9"))
    journal.made(2, "cpu", 1.23456, COUNTS)
    lines = path.read_text(encoding="utf-8").splitlines()
    times = [repr(json.loads(line)["at"]) for line in lines]
    assert lines == [
        f'{{"shard": 0, "event": "reused", "rows": 7, "rejects": 1, "at": {times[0]}}}',
        f'{{"shard": 1, "event": "reused", "rows": 7, "rejects": 1, "at": {times[1]}}}',
        '{"shard": 2, "event": "failed", "device": "gpu:0", "error": "WorkerError: 死于 \\udce9", '
        f'"at": {times[2]}}}',
        '{"shard": 2, "event": "made", "device": "cpu", "seconds": 1.235, "rows": 7, "rejects": 1, '
        f'"at": {times[3]}}}',
    ]
    assert read_journal(path)[2].last_error == "WorkerError: 死于 \udce9"


def test_half_a_line_of_a_killed_run_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    Journal(path).reused({0: COUNTS})
    with path.open("a") as file:
        file.write(json.dumps({"shard": 1, "event": "reused"})[:-4])
    assert list(read_journal(path)) == [0]


def test_a_journal_that_cannot_be_written_fails_no_shard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Journal(tmp_path / "missing" / "shards.jsonl").reused({0: COUNTS})
    assert "cannot be written" in caplog.text
    assert read_journal(tmp_path / "missing" / "shards.jsonl") == {}
