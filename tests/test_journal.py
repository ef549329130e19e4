from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import BatchTimeoutError, WorkerError
from tasks.journal import Journal, ShardHistory, read_journal

DETAILS = {"rows": 7, "rejects": [{"row": 3}]}


def test_attempts_and_the_last_error_of_each_shard_are_told(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    journal = Journal(path)
    journal.reused([0, 1])
    journal.failed(2, "gpu:0", WorkerError("died"))
    journal.failed(3, "gpu:1", WorkerError("died"))
    journal.failed(2, "gpu:1", BatchTimeoutError("hung"))
    journal.made(2, "gpu:0", 1.5, DETAILS)
    journal.made(4, "gpu:0", 0.5, DETAILS)
    assert read_journal(path) == {
        0: ShardHistory("reused"),
        1: ShardHistory("reused"),
        2: ShardHistory("made", 3, "BatchTimeoutError: hung", "gpu:0", 1.5),
        3: ShardHistory("failed", 1, "WorkerError: died", "gpu:1"),
        4: ShardHistory("made", 1, None, "gpu:0", 0.5),
    }


def test_half_a_line_of_a_killed_run_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "shards.jsonl"
    Journal(path).reused([0])
    with path.open("a") as file:
        file.write(json.dumps({"shard": 1, "event": "reused"})[:-4])
    assert list(read_journal(path)) == [0]


def test_a_journal_that_cannot_be_written_fails_no_shard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Journal(tmp_path / "missing" / "shards.jsonl").reused([0])
    assert "cannot be written" in caplog.text
    assert read_journal(tmp_path / "missing" / "shards.jsonl") == {}
