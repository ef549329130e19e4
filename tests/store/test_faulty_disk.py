from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.faulty_disk import Call, FaultyDisk, Op
from tests.support.faulty_disk import disk as disk

PYTHON = (sys.executable, "-I", "-S", "-c")  # starts in a few hundredths of a second
DAY = 86400

# Every call that the library intercepts, with every way to name the file: absolute and relative
# paths, its descriptor, and the descriptor of a folder.
DO_EVERY_CALL = """
import os, shutil, sys
root = sys.argv[1]
os.chdir(root)
os.mkdir(f"{root}/folder")
folder = os.open("folder", os.O_RDONLY)
file = os.open("new", os.O_CREAT | os.O_RDWR, dir_fd=folder)
os.write(file, b"one")
os.pwrite(file, b"two", 3)
os.writev(file, [b"three"])
os.fsync(file)
os.fdatasync(file)
os.rename("folder/new", "folder/file")
os.fsync(folder)
os.rename("file", "moved", src_dir_fd=folder, dst_dir_fd=folder)
os.link("folder/moved", "link")
os.symlink("link", "symbolic")
shutil.copyfile("link", "copy")
os.mkdir("inner", dir_fd=folder)
os.rmdir("folder/inner")
os.unlink("moved", dir_fd=folder)
os.unlink("copy")
"""
EVERY_CALL = [
    (Op.MKDIR, "folder"),
    (Op.OPEN, "folder/new"),
    (Op.WRITE, "folder/new"),
    (Op.WRITE, "folder/new"),
    (Op.WRITE, "folder/new"),
    (Op.FSYNC, "folder/new"),
    (Op.FSYNC, "folder/new"),
    (Op.RENAME, "folder/file"),
    (Op.FSYNC, "folder"),
    (Op.RENAME, "folder/moved"),
    (Op.LINK, "link"),
    (Op.LINK, "symbolic"),
    (Op.OPEN, "copy"),
    (Op.WRITE, "copy"),
    (Op.WRITE, "copy"),  # sendfile, which is called again at the end of the file
    (Op.MKDIR, "folder/inner"),
    (Op.REMOVE, "folder/inner"),
    (Op.REMOVE, "folder/moved"),
    (Op.REMOVE, "copy"),
]
WRITE_LINES = """
import os, sys
file = os.open(f"{sys.argv[1]}/lines", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for line in sys.stdin:
    try:
        print(os.write(file, line.encode()), flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""
WRITE_250_TIMES = """
import os, sys
file = os.open(f"{sys.argv[1]}/{os.getpid()}", os.O_CREAT | os.O_WRONLY)
failed = 0
for _ in range(250):
    try:
        os.write(file, b"x")
    except OSError:
        failed += 1
print(failed)
"""
START_A_CHILD = """
import subprocess, sys
child = subprocess.run([sys.executable, "-I", "-S", "-c", sys.argv[2], sys.argv[1]])
print(child.returncode)
"""
MAKE_AND_RENAME = """
import os, sys
open(f"{sys.argv[1]}/new", "xb").close()
os.rename(f"{sys.argv[1]}/new", f"{sys.argv[1]}/file")
"""
TELL_THE_TIME = """
import ctypes, datetime, json, subprocess, sys, time
libc = ctypes.CDLL(None)
for _ in sys.stdin:
    seconds = (ctypes.c_long * 2)()
    libc.gettimeofday(seconds, None)
    date = int(subprocess.run(["date", "+%s"], capture_output=True).stdout)
    told = [time.time(), datetime.datetime.now().timestamp(), libc.time(None), seconds[0], date]
    print(json.dumps([told, time.monotonic()]), flush=True)
"""
# A deadline in a second by the moved clock is a day away by the kernel's clock.
WAIT_A_SECOND = """
import ctypes, signal, time
signal.alarm(60)
libc = ctypes.CDLL(None)
mutex, condition = (ctypes.create_string_buffer(64) for _ in range(2))
libc.pthread_mutex_lock(mutex)
print(libc.pthread_cond_timedwait(condition, mutex, (ctypes.c_long * 2)(int(time.time()) + 1)))
"""
USE_LIBRARIES = """
import sqlite3, sys
import pyarrow as pa
import pyarrow.parquet as pq
pq.write_table(pa.table({"n": range(1000)}), f"{sys.argv[1]}/table.parquet")
with sqlite3.connect(f"{sys.argv[1]}/base") as base:
    base.execute("create table numbers (n)")
    base.execute("insert into numbers values (7)")
"""


def python(disk: FaultyDisk, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return disk.run([*PYTHON, program, str(disk.root), *arguments])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_call_that_changes_something_is_seen_once_and_in_order(disk: FaultyDisk) -> None:
    assert python(disk, DO_EVERY_CALL).returncode == 0
    assert disk.trace() == EVERY_CALL
    assert (disk.matched, disk.hits) == (len(EVERY_CALL), 0)
    assert (disk.root / "link").read_bytes() == b"onethree"
    assert names_in(disk.root) == ["folder", "link", "symbolic"]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("op", list(Op), ids=lambda op: op.name.lower())
def test_a_call_fails_with_the_error_that_was_asked_for(
    disk: FaultyDisk, op: Op, error: int
) -> None:
    disk.fail(error, ops=op)
    result = python(disk, DO_EVERY_CALL)
    assert f"[Errno {error}] {os.strerror(error)}" in result.stderr
    done = [one for one, _ in EVERY_CALL]
    assert disk.trace() == EVERY_CALL[: done.index(op) + 1]
    assert (disk.matched, disk.hits) == (1, 1)


def test_a_fault_meets_one_call_or_all_from_there_on(disk: FaultyDisk) -> None:
    lines = "".join(f"{number}\n" for number in range(5))
    outputs = []
    for lasting in (False, True):
        disk.fail(errno.ENOSPC, at=3, ops=Op.WRITE, lasting=lasting)
        with disk.start([*PYTHON, WRITE_LINES, str(disk.root)]) as process:
            outputs.append(process.communicate(lines)[0].split())
        assert disk.matched == 5
    assert outputs == [["2", "2", "28", "2", "2"], ["2", "2", "28", "28", "28"]]
    assert (disk.root / "lines").read_text() == "0\n1\n3\n4\n0\n1\n"


def test_a_plan_looks_at_the_paths_of_its_pattern_only(disk: FaultyDisk) -> None:
    disk.fail(errno.EIO, at=2, ops=Op.RENAME | Op.FSYNC, pattern="folder/*e*")
    assert "Errno 5" in python(disk, DO_EVERY_CALL).stderr
    assert disk.trace()[-1] == (Op.FSYNC, "folder/new")
    assert names_in(disk.root / "folder") == ["new"]


def test_what_lies_outside_of_the_root_is_left_alone(disk: FaultyDisk, tmp_path: Path) -> None:
    disk.fail(errno.EIO, lasting=True)
    beside = tmp_path / f"{disk.root.name}-beside"
    beside.mkdir()
    result = disk.run([*PYTHON, DO_EVERY_CALL, str(beside)])
    assert (result.returncode, disk.matched, disk.trace()) == (0, 0, [])


def test_a_plan_may_change_while_a_program_runs(disk: FaultyDisk) -> None:
    with disk.start([*PYTHON, WRITE_LINES, str(disk.root)]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = []
        for error in (None, errno.EIO, errno.EACCES, None):
            disk.count() if error is None else disk.fail(error)
            process.stdin.write("line\n")
            process.stdin.flush()
            answers.append(int(process.stdout.readline()))
    assert answers == [5, errno.EIO, errno.EACCES, 5]


def test_counts_are_exact_across_processes(disk: FaultyDisk) -> None:
    disk.fail(errno.EIO, at=777, ops=Op.WRITE)
    command = [*PYTHON, WRITE_250_TIMES, str(disk.root)]
    outputs = [process.communicate()[0] for process in [disk.start(command) for _ in range(4)]]
    assert sorted(outputs) == ["0\n", "0\n", "0\n", "1\n"]
    assert (disk.matched, disk.hits) == (1000, 1)
    assert sum(path.stat().st_size for path in disk.root.iterdir()) == 999


@pytest.mark.parametrize(("before", "left"), [(True, ["new"]), (False, ["file"])])
def test_a_kill_comes_right_before_or_right_after_the_call(
    disk: FaultyDisk, before: bool, left: list[str]
) -> None:
    disk.kill(ops=Op.RENAME, before=before)
    assert python(disk, MAKE_AND_RENAME).returncode == -signal.SIGKILL
    assert names_in(disk.root) == left


@pytest.mark.parametrize(("whole_group", "code", "output"), [(True, -9, ""), (False, 0, "-9\n")])
def test_a_kill_takes_the_whole_group_or_the_one_process(
    disk: FaultyDisk, whole_group: bool, code: int, output: str
) -> None:
    disk.kill(ops=Op.OPEN, whole_group=whole_group)
    result = python(disk, START_A_CHILD, MAKE_AND_RENAME)
    assert (result.returncode, result.stdout) == (code, output)
    assert names_in(disk.root) == ["new"]


def test_a_program_in_the_group_of_the_test_dies_alone(disk: FaultyDisk) -> None:
    disk.kill(ops=Op.OPEN)
    command = [*PYTHON, MAKE_AND_RENAME, str(disk.root)]
    assert subprocess.run(command, env=disk.environment, check=False).returncode == -signal.SIGKILL


def test_a_stopped_program_stays_at_the_call_until_it_is_continued(disk: FaultyDisk) -> None:
    disk.kill(ops=Op.RENAME, before=True, by=signal.SIGSTOP)
    with disk.start([*PYTHON, MAKE_AND_RENAME, str(disk.root)]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.poll() is None
            time.sleep(0.01)
        assert names_in(disk.root) == ["new"]
        process.send_signal(signal.SIGCONT)
    assert process.returncode == 0
    assert names_in(disk.root) == ["file"]


def test_the_clock_moves_both_ways_under_a_running_program_and_monotonic_time_does_not(
    disk: FaultyDisk,
) -> None:
    with disk.start([*PYTHON, TELL_THE_TIME]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset in (0, DAY, -DAY, 0):
            disk.clock_offset = offset
            process.stdin.write("\n")
            process.stdin.flush()
            told, monotonic = json.loads(process.stdout.readline())
            assert [round((seconds - time.time()) / DAY) for seconds in told] == [offset / DAY] * 5
            assert round((monotonic - time.monotonic()) / DAY) == 0


def test_a_thread_waits_until_a_moment_of_the_moved_clock(disk: FaultyDisk) -> None:
    disk.clock_offset = DAY
    assert python(disk, WAIT_A_SECOND).stdout == f"{errno.ETIMEDOUT}\n"


def test_pyarrow_and_sqlite_work_and_are_seen(disk: FaultyDisk, tmp_path: Path) -> None:
    result = disk.run([sys.executable, "-c", USE_LIBRARIES, str(disk.root)])
    assert (result.returncode, result.stderr) == (0, "")
    pq.write_table(pa.table({"n": range(1000)}), tmp_path / "table.parquet")
    undisturbed = (tmp_path / "table.parquet").read_bytes()
    assert (disk.root / "table.parquet").read_bytes() == undisturbed
    with sqlite3.connect(disk.root / "base") as base:
        assert base.execute("select n from numbers").fetchall() == [(7,)]
    calls = disk.trace()
    for name in ("table.parquet", "base"):
        assert calls.index(Call(Op.OPEN, name)) < calls.index(Call(Op.WRITE, name))
    assert Call(Op.FSYNC, "base") in calls


def test_a_fault_under_pyarrow_is_the_error_of_the_disk(disk: FaultyDisk) -> None:
    disk.fail(errno.ENOSPC, at=2, ops=Op.WRITE, pattern="*.parquet")
    result = disk.run([sys.executable, "-c", USE_LIBRARIES, str(disk.root)])
    assert "[Errno 28]" in result.stderr
    assert disk.hits == 1


def test_a_program_without_its_plan_does_not_start(disk: FaultyDisk) -> None:
    result = disk.run([*PYTHON, "print(1)"], env={"FAULTY_DISK": "/nowhere"})
    assert (result.returncode, result.stdout) == (-signal.SIGABRT, "")
