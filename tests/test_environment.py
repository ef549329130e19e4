from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.doctor.folders import check_folders
from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.environment import find_home_fault, provide_home
from tasks.errors import StorageError
from tasks.processes import call_in_child

NOWHERE = "/proc/nowhere"  # nobody can make a folder there, not even root


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def find_paddlenlp_home() -> Path:
    import_paddlenlp()  # makes it
    (folder,) = Path.home().glob(".paddlenlp")
    return folder


def test_a_home_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert check_folders() == []


def test_paddlenlp_is_imported_though_the_home_cannot_be_written(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    assert call_in_child(find_paddlenlp_home).is_relative_to(temporary)
    assert os.environ["HOME"] == NOWHERE
    (finding,) = check_folders()
    assert (finding.key, finding.severity) == ("HOME", "warning")
    assert NOWHERE in finding.problem


def test_a_home_that_is_a_file_counts_as_none(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary / "file").touch()
    monkeypatch.setenv("HOME", str(temporary / "file"))
    assert find_home_fault() == f"{temporary / 'file'} is not a folder that can be written"


def test_a_home_on_a_read_only_disk_cannot_be_written(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(small_disk))
    assert find_home_fault() is None
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert find_home_fault() == f"{small_disk} is not a folder that can be written"


def test_the_home_of_somebody_else_in_the_temporary_folder_is_not_taken(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    (temporary / "elsewhere").mkdir()
    (temporary / f"wenti-home-{os.getuid()}").symlink_to(temporary / "elsewhere")
    provide_home()
    assert Path(os.environ["HOME"]).parent == temporary
    assert not Path(os.environ["HOME"]).samefile(temporary / "elsewhere")


def test_a_temporary_folder_that_cannot_be_written_is_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", NOWHERE)
    (finding,) = check_folders()
    assert (finding.key, finding.severity) == ("TMPDIR", "warning")
    assert finding.problem.startswith(f"{NOWHERE} cannot be written")


def test_without_home_and_temporary_folder_the_error_names_both(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", NOWHERE)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [NOWHERE])
    with pytest.raises(
        StorageError, match=f"{NOWHERE} is not a folder that can be written, nor can the temporary"
    ):
        provide_home()
    assert {finding.severity for finding in check_folders()} == {"fault"}


def test_pyarrow_does_without_pandas_in_processes_of_our_own() -> None:
    code = """
import sys
import pyarrow
from tasks.environment import keep_pandas_out
keep_pandas_out()
table = pyarrow.Table.from_pylist([{"a": 1}])
print(table["a"].to_pylist(), "pandas" in sys.modules)
import pandas
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1] False\n"
