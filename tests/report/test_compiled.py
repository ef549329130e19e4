"""Compiled templates that are kept beside their sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import BytecodeCache, Environment, FileSystemLoader

from tasks.report.page import CompiledTemplates

NAME = "greeting.j2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    (tmp_path / NAME).write_text("Hello {{ name }}", encoding="utf-8")
    (tmp_path / "options.py").write_text("1", encoding="utf-8")
    return tmp_path


def render(folder: Path) -> str:
    """Render the template as a process of its own would: with a new cache."""
    cache: BytecodeCache = CompiledTemplates(folder, folder / "options.py")
    environment = Environment(
        loader=FileSystemLoader(folder), bytecode_cache=cache, autoescape=True
    )
    return environment.get_template(NAME).render(name="<you>")


def kept(folder: Path) -> dict[str, int]:
    """Return the files that are kept, and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in (folder / "__pycache__").iterdir()}


def test_a_template_is_compiled_once(folder: Path) -> None:
    assert render(folder) == "Hello &lt;you&gt;"
    first = kept(folder)
    assert len(first) == 1
    assert render(folder) == "Hello &lt;you&gt;"
    assert kept(folder) == first


def test_a_changed_source_is_compiled_again(folder: Path) -> None:
    render(folder)
    (folder / NAME).write_text("Bye {{ name }}", encoding="utf-8")
    assert render(folder) == "Bye &lt;you&gt;"


def test_changed_options_are_compiled_with_again(folder: Path) -> None:
    render(folder)
    before = kept(folder)
    (folder / "options.py").write_text("2", encoding="utf-8")
    render(folder)
    assert kept(folder).keys() > before.keys()


@pytest.mark.parametrize("content", [b"", b"no bytecode", None])
def test_a_damaged_file_is_replaced(folder: Path, content: bytes | None) -> None:
    render(folder)
    (file,) = (folder / "__pycache__").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert render(folder) == "Hello &lt;you&gt;"
    assert file.read_bytes() == whole


def test_a_folder_in_which_nothing_can_be_written_is_no_fault(folder: Path) -> None:
    (folder / "__pycache__").touch()  # no folder; permissions do not stop root
    assert render(folder) == "Hello &lt;you&gt;"
