from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.escaping import to_json, visible
from tasks.runs.results import PREDICTIONS_FILE, RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.tables import PREDICTIONS, commit_table
from tests.support.commands import wenti
from tests.support.rehearsal import ROOT

HOSTILE = (
    "长\x1b[31m\x1b]0;title\x07\x1b[2J江\x9b2J\x9d\x00\b\v\f\r\x7f\u202e\u2066\u200f\u2028"
    "[bold]:smile:\n\tend"
)
SPELT = (
    r"长\x1b[31m\x1b]0;title\x07\x1b[2J江\x9b2J\x9d\x00\x08\x0b\x0c\r\x7f\u202e\u2066\u200f\u2028"
    "[bold]:smile:"
)
HARMLESS = "长江\tabc\n１２３ ｶﾅ 👨‍👩‍👧 🇨🇳 e\u0301 العربية עברית \ufeff\\x1b[31m 'a' \"b\""
PRINT_EVERYTHING = """
import logging, sys
from collections import defaultdict
from pathlib import Path
from flows.cli import console
from flows.cli.tables import rows, runs as tables
from tasks.operations.rows import Rejects
from tasks.operations.status import ShardStatus, StageStatus, Status
from tasks.operations.verify import Checked

text = sys.stdin.read()
with console.follow():
    logging.getLogger("wenti.x").warning("PART of the log: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("wenti.x").exception("PART with a traceback")
print("PART of show", flush=True)
rows.print_rows([dict.fromkeys(("context", "answer", "question", "reference"), text)])
print("PART of the rejects", flush=True)
rows.print_rejects(Rejects([{**dict.fromkeys(rows.COLUMNS), "detail": text}], {"x": 1}))
print("PART of status: a stage", flush=True)
tables.print_status(Status([StageStatus(text, text, text)]))
print("PART of status: a shard", flush=True)
shard = ShardStatus(0, text, 1, text, last_error=text)
tables.print_status(Status([StageStatus("", "", "")], [shard]))
print("PART of status: damage", flush=True)
tables.print_status(Status([StageStatus("", "", "", damage=text)]))
print("PART of verify", flush=True)
tables.print_checked([Checked(text, text, text)])
print("PART of verify: damage", flush=True)
tables.print_checked([Checked("", "", "", text)])
print("PART of run", flush=True)
quality = {"flagged_rows": 1, "rows": 1, "flags": {text: 1}}
metrics = defaultdict(int, cut={text: 1}, cut_rows=1, quality=quality, reject_reasons={})
tables.print_summary(Path(text), metrics)
"""
PARTS = PRINT_EVERYTHING.count("PART ")
PROGRAM = [sys.executable, "-c", PRINT_EVERYTHING]
WIDE = {**os.environ, "COLUMNS": "500"}


def is_acted_on(char: str) -> bool:
    """Return whether a character is a control, a line or paragraph end, or a direction mark."""
    category, direction = unicodedata.category(char), unicodedata.bidirectional(char)
    is_mark = unicodedata.name(char, "").endswith(("LEFT MARK", "RIGHT MARK", "LETTER MARK"))
    is_direction = is_mark or direction[:2] in ("LR", "RL", "PD", "FS")
    return char not in "\n\t" and (is_direction or category in ("Cc", "Cs", "Zl", "Zp"))


def test_every_character_that_a_terminal_acts_on_is_spelt_and_no_other() -> None:
    everything = list(map(chr, range(sys.maxunicode + 1)))
    acted_on = {char for char in everything if is_acted_on(char)}
    assert {char for char in everything if visible(char) != char} == acted_on
    assert not acted_on & set(visible("".join(everything)))
    assert visible(HOSTILE) == SPELT + "\n\tend"
    assert visible(HARMLESS) == HARMLESS


@given(st.recursive(st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_is_the_same_value_with_nothing_to_act_on(value: object) -> None:
    text = to_json(value)
    assert json.loads(text) == value
    assert not any(map(is_acted_on, text))


def test_json_of_harmless_text_stays_readable() -> None:
    assert to_json({"a": ["长江 👨‍👩‍👧"]}) == '{\n  "a": [\n    "长江 👨‍👩‍👧"\n  ]\n}'


def print_on_a_terminal(text: str) -> str:
    """Print text in every way that Wenti does, to a real terminal; return what it receives."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        PROGRAM, stdin=subprocess.PIPE, stdout=end, stderr=end, cwd=ROOT, env=WIDE
    )
    os.close(end)
    assert process.stdin is not None
    with process.stdin as file:
        file.write(text.encode())
    shown = b""
    with suppress(OSError):  # Linux raises it when the other end is closed
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    os.close(terminal)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def controls_of(shown: str) -> set[str]:
    return set(re.findall(r"\x1b\[[0-9;?]*[A-Za-z]", shown)) | set(filter(is_acted_on, shown))


def test_text_sends_a_terminal_nothing_but_itself() -> None:
    shown = print_on_a_terminal(HOSTILE)
    assert controls_of(shown) <= controls_of(print_on_a_terminal("harmless"))
    parts = shown.split("PART ")[1:]
    assert len(parts) == PARTS
    assert all(SPELT in part for part in parts)


def test_log_files_and_pipes_get_no_controls() -> None:
    done = subprocess.run(
        PROGRAM, input=HOSTILE.encode(), capture_output=True, cwd=ROOT, env=WIDE, check=True
    )
    for shown in (done.stdout.decode(), done.stderr.decode()):
        assert SPELT in shown
        assert controls_of(shown) == set()


@pytest.fixture
def hostile_store(tmp_path: Path) -> Path:
    """A store with a run whose texts contain control sequences."""
    folder = tmp_path / "store" / "runs" / "hostile"
    row = {"row": 0, "score": 0.5, "output_ids": [1], "alternatives": [], "unknown_tokens": 0}
    row |= {"is_finished": False, "token_count": 1}
    row |= dict.fromkeys(("id", "context", "answer", "reference", "question"), HOSTILE)
    batch = pa.RecordBatch.from_pylist([row], schema=PREDICTIONS)
    commit_table(folder / PREDICTIONS_FILE, PREDICTIONS, [batch])
    for name in (RUN_FILE, SUCCESS_FILE):
        commit_json(folder / name, {})
    return tmp_path / "store"


def test_show_spells_what_a_terminal_would_act_on(hostile_store: Path) -> None:
    done = wenti("show", "hostile", "--store", str(hostile_store))
    assert done.stdout.count(r"\x1b") == 4 * HOSTILE.count("\x1b")
    assert controls_of(done.stdout) == set()


def test_json_of_show_spells_what_a_terminal_would_act_on(hostile_store: Path) -> None:
    done = wenti("show", "hostile", "--store", str(hostile_store), "--json")
    assert controls_of(done.stdout) == set()
    assert json.loads(done.stdout)[0]["context"] == HOSTILE


def test_error_message_spells_what_a_terminal_would_act_on(tmp_path: Path) -> None:
    done = wenti("show", "latest", "--store", str(tmp_path / "\x1b[2J\x9b\u202e"))
    assert done.returncode == 2
    assert r"\x1b[2J\x9b\u202e" in done.stderr
    assert controls_of(done.stderr) == set()
