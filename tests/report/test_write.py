"""The report among the results of a run with the fake engine, as a user sees it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.operations.verify import verify_run
from tasks.output.folder import replaced_folder
from tasks.output.marks import write_mark
from tasks.report.write import ensure_report
from tasks.runs.find import find_results
from tasks.store.layout import Store
from tests.support.finished_runs import read_page
from tests.support.rehearsal import SHARDS, Rehearsal, block
from tests.support.shelf import read_tree

REPORT = "report.html"


@pytest.fixture
def store(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    copy = tmp_path / "store"
    shutil.copytree(rehearsal.undisturbed, copy, symlinks=True)
    return copy


def latest(store: Path) -> Path:
    return find_results("latest", Store(store))


def read_mark(run: Path) -> dict[str, Any]:
    mark: dict[str, Any] = json.loads((run / "_SUCCESS").read_bytes())
    return mark


def take_out_of_mark(run: Path, mark: Mapping[str, Any]) -> None:
    """Change a run into one of a version without reports."""
    (run / REPORT).unlink()
    files = [entry for entry in mark["files"] if entry["name"] != REPORT]
    (run / "_SUCCESS").write_text(json.dumps({**mark, "files": files}))


def test_a_run_leaves_a_report_among_its_results(store: Path, rehearsal: Rehearsal) -> None:
    run = latest(store)
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert REPORT in [entry["name"] for entry in read_mark(run)["files"]]
    assert all(part.state == "ok" for part in verify_run(run))
    page = read_page((run / REPORT).read_text(encoding="utf-8"))
    assert page.named("h1")[0].words == "demo Many rejects"
    rows, quality, _, failed = (card.words for card in page.named("div", "card"))
    assert f"{metrics['predictions']} of {metrics['rows_in']} rows" in rows
    assert "✓ Every row is accounted for" in rows
    assert "no reference questions" in quality
    assert f"0 of {SHARDS} shards" in failed
    assert len(page.part("samples").named("article")) == metrics["predictions"]
    stages = [lane.words.split()[0] for lane in page.part("speed").named("div", "lane")]
    assert stages[:4] == ["export", "load", "predict", "cpu"]
    assert len(page.part("shards").named("tr")) == SHARDS + 1
    assert len(page.part("speed").named("div", "chart")) == 2
    assert "Made-up questions" in page.part("overview").words


@pytest.mark.parametrize("harm", ["none", "lost", "damaged", "never made"])
def test_the_report_command_gives_the_report_and_makes_it_where_it_must(
    rehearsal: Rehearsal, store: Path, harm: str
) -> None:
    run = latest(store)
    report, mark = (run / REPORT).read_bytes(), read_mark(run)
    if harm == "lost":
        (run / REPORT).unlink()
    elif harm == "damaged":
        (run / REPORT).write_bytes(report[:-1])
    elif harm == "never made":
        take_out_of_mark(run, mark)
    done = rehearsal.wenti("report", "latest", "--store", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{run / REPORT}\n"
    assert (run / REPORT).read_bytes() == report
    assert read_mark(run) == mark
    assert all(part.state == "ok" for part in verify_run(run))


def deliver_to(run: Path, folder: Path) -> None:
    """Change a run into one that wrote a data set, which a newer run has replaced since."""
    text = (run / "config.yaml").read_text(encoding="utf-8")
    changed = text.replace("output_folder: null", f"output_folder: {folder}").encode()
    (run / "config.yaml").write_bytes(changed)
    entry = {"size": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    mark = read_mark(run)
    (config,) = (one for one in mark["files"] if one["name"] == "config.yaml")
    config |= entry
    (run / "_SUCCESS").write_text(json.dumps(mark))
    with replaced_folder(folder) as new:
        (new / "part-00000.parquet").write_text("newer")
        write_mark(new, is_partial=False, content={})


def test_a_repair_gives_a_run_its_own_report_back_and_changes_nothing_outside_of_the_store(
    rehearsal: Rehearsal, store: Path
) -> None:
    run = latest(store)
    report = (run / REPORT).read_bytes()
    deliver_to(run, store.parent / "out")
    before = read_tree(store.parent / "out")
    (run / REPORT).unlink()
    (run / "predictions.txt").write_text("")
    done = rehearsal.wenti("verify", run, "--repair")
    assert done.returncode == 0, done.stderr
    assert (run / REPORT).read_bytes() == report
    assert latest(store) != run
    assert (
        "output_folder: " + str(store.parent / "out") in (latest(store) / "config.yaml").read_text()
    )
    assert read_tree(store.parent / "out") == before


def test_no_report_is_made_of_damaged_results(rehearsal: Rehearsal, store: Path) -> None:
    run = latest(store)
    (run / REPORT).unlink()
    (run / "predictions.parquet").write_bytes(b"PAR1")
    done = rehearsal.wenti("report", "latest", "--store", store)
    assert done.returncode == 1
    assert "predictions.parquet differs from what was committed" in done.stderr
    assert "--repair" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (run / REPORT).exists()


def test_a_report_that_is_there_needs_no_right_to_write(store: Path) -> None:
    run = latest(store)
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    assert ensure_report(run) == run / REPORT
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_open_hands_the_file_to_the_browser(
    rehearsal: Rehearsal, store: Path, tmp_path: Path
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o755)
    done = rehearsal.wenti("report", "latest", "--open", "--store", store, BROWSER=f"{browser} %s")
    assert done.returncode == 0, done.stderr
    assert seen.read_text() == (latest(store) / REPORT).as_uri()


def test_without_a_browser_open_says_where_the_file_is(rehearsal: Rehearsal, store: Path) -> None:
    hidden = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"), "")
    cold = replace(rehearsal, is_warm=False)  # its environment is its own
    done = cold.wenti("report", "latest", "--open", "--store", store, PATH="/nowhere", **hidden)
    assert done.returncode == 2
    assert str(latest(store) / REPORT) in done.stdout
    assert f"open {latest(store) / REPORT}" in done.stderr


def test_a_run_without_results_has_no_report_and_says_why(
    rehearsal: Rehearsal, store: Path
) -> None:
    run = latest(store)
    (run / "_SUCCESS").unlink()
    record = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**record, "state": "failed", "error": "boom"}))
    done = rehearsal.wenti("report", "latest", "--store", store)
    assert done.returncode == 2
    assert f"is complete; the newest run, {run.name}, failed after" in done.stderr
    assert done.stderr.endswith(": boom\n")


def test_a_partial_run_reports_what_is_missing_and_the_next_what_it_reused(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    store = rehearsal.store_without_shards(tmp_path / "store")
    blocked = block(rehearsal, store, 2)
    code, messages = rehearsal.run(store, "aggregate.allow_partial=true")
    assert code == 0, messages
    page = read_page((latest(store) / REPORT).read_text(encoding="utf-8"))
    notice = page.named("div", "notice")[0].words
    assert "Partial results: 6 rows are missing" in notice
    assert "Shard 2, rows" in notice
    assert "IsADirectoryError" in notice
    assert "of which 6 missing" in page.named("div", "card")[0].words
    assert "shard_failed 6 rows" in page.part("rejects").words
    lines = [line.words.split()[:2] for line in page.part("shards").named("tr")]
    assert lines[1] == ["2", "failed"]
    assert len(page.part("speed").named("rect", "failure")) == 3

    blocked[0].rmdir()
    assert rehearsal.run(store)[0] == 0
    page = read_page((latest(store) / REPORT).read_text(encoding="utf-8"))
    assert f"1 made now, {SHARDS - 1} reused" in page.named("div", "card")[3].words
    assert "Partial" not in page.named("h1")[0].words
    states = [line.named("td")[1].words for line in page.part("shards").named("tr")[1:]]
    assert states == ["reused", "reused", "made", "reused", "reused"]
