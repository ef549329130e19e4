"""Contenders: processes that load once and then answer `go` with the seconds that it took.

They speak JSON, one value a line: on standard input an order, then `"go"` as often as wanted; on
standard output facts about what was loaded, once it is warm, then an answer to each `"go"`. What
else they print goes to standard error, which is shown only when one dies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.errors import WorkerError

SPEED_VARIABLES = ("MKL_", "OMP_", "KMP_", "FLAGS_", "CT2_", "MALLOC_")
"""Beginnings of variables that change the speed: no contender has them but by its order."""

LAST_LINES = 3
ROOT = Path(__file__).resolve().parents[3]


class Contender:
    """One contender; it starts to load at once, and several can load side by side.

    Args:
        name: for messages.
        command: the program and its arguments.
        order: what it is told first.
        variables: environment variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        order: Mapping[str, Any],
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 closed by `stop`
        self._process = subprocess.Popen(  # noqa: S603 our own modules
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=_environment(variables),
            text=True,
            encoding="utf-8",
        )
        self._send(order)

    def ask(self) -> dict[str, Any]:
        """Have it do its work once; gives `seconds` and what else it tells."""
        self._send("go")
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Wait for the next line: the first has the facts about what was loaded.

        Raises:
            WorkerError: it died; its last words are part of the message.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._words):
            if file is not None:
                _close(file)

    def __enter__(self) -> Self:
        """Give the contender itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.stop()

    def _send(self, message: object) -> None:
        try:
            if self._process.stdin:
                print(json.dumps(message), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> WorkerError:
        code = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
        words = " / ".join(line.strip() for line in lines[-LAST_LINES:]) or "it said nothing"
        return WorkerError(f"the benchmark's process {self.name} died (exit code {code}): {words}")


def module_command(module: str) -> list[str]:
    """Give the command that runs a module of this package as a contender."""
    return [sys.executable, "-m", f"tasks.bench.contenders.{module}"]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {key: text for key, text in os.environ.items() if not key.startswith(SPEED_VARIABLES)}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, **variables}


def _close(file: Any) -> None:  # noqa: ANN401 any kind of file
    try:
        file.close()
    except BrokenPipeError:  # what it has not read any more
        return
