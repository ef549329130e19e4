from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from multiprocessing.connection import Connection

import pytest

from tasks.errors import WorkerError
from tasks.processes import Child, call_in_child

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


class Heard(logging.Handler):
    """Collects log messages, and the context of each."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []
        self.contexts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelname, record.getMessage()))
        self.contexts.append(whose.get())

    def wait_for(self, message: str) -> None:
        deadline = time.monotonic() + 600
        while ("INFO", message) not in self.lines:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.01)


@pytest.fixture
def heard() -> Iterator[Heard]:
    logger, handler = logging.getLogger("wenti"), Heard()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def speak() -> None:
    logging.getLogger("wenti.there").warning("a warning")
    print("printed")  # noqa: T201 what a library would do
    os.write(2, b"from C\n")


def crash() -> None:
    ctypes.string_at(0)


def answer_and_speak(connection: Connection) -> None:
    while True:
        print(connection.recv(), file=sys.stderr)  # noqa: T201 what a library would do
        connection.send("spoken")


def test_what_a_child_logs_prints_and_writes_is_logged_with_its_name(heard: Heard) -> None:
    call_in_child(speak)
    assert sorted(heard.lines) == [
        ("INFO", "process of speak: from C"),
        ("INFO", "process of speak: printed"),
        ("WARNING", "process of speak: a warning"),
    ]


def test_the_last_words_of_a_child_that_crashes_are_logged(heard: Heard) -> None:
    with pytest.raises(WorkerError, match="SIGSEGV"):
        call_in_child(crash)
    said = "\n".join(message for _, message in heard.lines)
    assert "Segmentation fault" in said
    assert "in crash" in said


def test_lines_belong_to_the_context_that_the_child_works_for(heard: Heard) -> None:
    child = Child("speaker", answer_and_speak)
    try:
        for name in ("one", "another"):
            whose.set(name)
            child.send(f"for {name}")
            child.receive(60)
            heard.wait_for(f"speaker: for {name}")
    finally:
        child.stop()
    assert heard.contexts == ["one", "another"]
