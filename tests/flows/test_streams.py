"""What is printed to a closed, full or narrow stream, by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rehearsal import ROOT, WENTI, Rehearsal

TEXT = "长江 é 😀 \udcff…"
PROGRAM = f"""
import sys
from flows.cli.streams import leave, prepare_streams
output = prepare_streams()
descriptor = open(sys.argv[2], "wb").fileno()  # the file that a closed stream's number would go to
print({TEXT!a})
print("to stderr", file=sys.stderr)
leave(descriptor < 3, output, is_printing=sys.argv[1] == "printing")
"""
SHELL = {"closed": ">&-", "full": ">/dev/full", "no errors": "2>&-", "errors full": "2>/dev/full"}


def run(
    tmp_path: Path, kind: str, redirect: str, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    program = [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "file")]
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *program]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)


@pytest.mark.parametrize("redirect", SHELL.values(), ids=SHELL)
def test_a_run_does_not_fail_because_it_cannot_print(tmp_path: Path, redirect: str) -> None:
    done = run(tmp_path, "working", redirect)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(("name", "code"), [("closed", 1), ("full", 1), ("no errors", 0)])
def test_a_command_whose_result_is_what_it_prints_fails_if_it_cannot(
    tmp_path: Path, name: str, code: int
) -> None:
    done = run(tmp_path, "printing", SHELL[name])
    assert done.returncode == code
    if code:
        assert done.stderr.splitlines()[-1].startswith(b"wenti: cannot write to standard output: ")


def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    done = run(tmp_path, "printing", "| true; exit ${PIPESTATUS:-0}")
    assert (done.returncode, done.stderr) == (0, b"to stderr\n")


@pytest.mark.parametrize(
    ("variables", "encoding"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "gbk"}, "gbk"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        ({"PYTHONIOENCODING": "utf-8"}, "utf-8"),
    ],
)
def test_characters_that_the_terminal_lacks_are_escaped_as_in_json(
    tmp_path: Path, variables: dict[str, str], encoding: str
) -> None:
    done = run(tmp_path, "printing", "", **variables)
    assert done.returncode == 0
    line = done.stdout.decode(encoding).rstrip("\n")
    assert json.loads(f'"{line}"') == TEXT
    assert ("长" in line) is (encoding != "ascii")


def test_the_results_of_a_run_are_whole_though_nothing_can_be_printed(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    command = ["sh", "-c", 'exec "$@" >/dev/full 2>&-', "sh", *rehearsal.command(tmp_path / "st")]
    done = subprocess.run(command, env=dict(rehearsal.environment), check=False, timeout=600)
    assert done.returncode == 0
    rehearsal.check(tmp_path / "st")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_an_error_in_a_path_of_other_letters_is_one_message(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    command = [str(WENTI), "run", os.fsdecode("问题\udcff.yaml".encode(errors="surrogateescape"))]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"there is no such file" in done.stderr
    assert b"Traceback" not in done.stderr
