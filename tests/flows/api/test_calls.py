"""The functions of `import wenti`: on a finished run, in a notebook, and as they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pyarrow.parquet as pq
import pytest
import wenti
from nbclient import NotebookClient

from tests.support.converted_runs import write_run
from tests.support.finished_runs import judge_run, prediction
from tests.support.rehearsal import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


def test_results_and_quality_are_the_rows_of_a_run_in_the_same_order(demo_store: Path) -> None:
    results, quality = (one("latest", store=demo_store) for one in (wenti.results, wenti.quality))
    run = demo_store / "runs/latest"
    assert results["row"].tolist() == quality["row"].tolist()
    assert results["question"].tolist() == (
        pq.read_table(run / "predictions.parquet")["question"].to_pylist()
    )
    flags = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["quality"]["flags"]
    assert {name: quality[name].sum() for name in flags} == flags
    assert quality["duplicate_of"].dtype == "Int64"
    assert not quality.columns.duplicated().any()
    assert len(results[~quality["duplicate"]]) == len(results) - flags["duplicate"]


def test_a_run_is_given_by_id_folder_or_itself_and_others_are_refused(demo_store: Path) -> None:
    folder = (demo_store / "runs/latest").resolve()
    run = wenti.Run(folder, {})
    comparison = wenti.compare(run, folder.name, store=demo_store)
    assert comparison.rows["changed"] == 0
    assert wenti.results(folder).equals(wenti.results(run))
    with pytest.raises(wenti.errors.InputError, match="there is no run 'nothing'"):
        wenti.results("nothing", store=demo_store)


def test_a_run_without_a_question_has_the_same_columns(tmp_path: Path) -> None:
    some, none = (write_run(tmp_path / str(len(rows)), rows) for rows in ([prediction(0)], []))
    for run in (some, none):
        judge_run(run)
    for read in (wenti.results, wenti.quality):
        assert read(none).empty
        assert read(none).dtypes.equals(read(some).dtypes)
        assert read(none).columns.is_unique


def test_all_faults_of_a_config_are_raised_at_once(tmp_path: Path) -> None:
    with pytest.raises(wenti.errors.ConfigError) as fault:
        wenti.run(ROOT / "configs/demo.yaml", dataset={"limit": 0}, decode={"no_such_key": 1})
    assert len(fault.value.faults) == 2


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, wenti; print(*{name.partition('.')[0] for name in sys.modules})"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    heavy = {"prefect", "pandas", "pyarrow", "numpy", "pydantic", "rich", "typer", "paddle"}
    assert not heavy & {*answer.stdout.split()}


def test_a_wheel_has_it_with_types_and_without_an_installation(tmp_path: Path) -> None:
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("the setuptools here is too old to build Wenti")
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as files:
        files.extractall(tmp_path / "installed")
    names = {*files.namelist()}
    assert {f"{package}/py.typed" for package in ("wenti", "flows", "tasks")} < names
    assert not [name for name in names if name.startswith("flows/api/wenti")]
    code = "import wenti, flows; print(wenti.__file__, flows.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        cwd="/",
        capture_output=True,
        check=True,
        text=True,
    )
    assert all(path.startswith(str(tmp_path)) for path in answer.stdout.split())


def test_the_notebook_of_the_documentation_runs_and_shows_what_it_says(
    demo_store: Path, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a kernel of Jupyter, whose event loop is running; its export is that of the demo."""
    monkeypatch.setenv("PREFECT_API_URL", server_url)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(demo_store / "exports", tmp_path / "wenti-store/exports")
    (tmp_path / "docs").mkdir()
    shown = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.from_dict(json.loads(json.dumps(shown)))
    place = {"metadata": {"path": str(tmp_path / "docs")}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    assert [outputs(cell) for cell in notebook.cells] == [outputs(cell) for cell in shown.cells]


def outputs(cell: nbformat.NotebookNode) -> list[str]:
    """Return what a cell shows, without the log."""
    shown = [one for one in cell.get("outputs", ()) if one.get("name") != "stderr"]
    return [one["text"] if "text" in one else one["data"]["text/plain"] for one in shown]
