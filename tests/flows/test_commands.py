"""What the commands print and take, in this process."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
import wenti
from typer.testing import CliRunner

from flows.cli.completion import complete_config, complete_key, complete_run
from flows.cli.console import output
from flows.cli.main import app, is_printing
from flows.cli.tables.doctor import print_findings
from flows.cli.tables.runs import print_checked, print_garbage
from flows.cli.tables.trend import fit
from tasks.errors import InputError, PreflightError
from tasks.findings import Finding
from tasks.operations.gc import Garbage
from tasks.operations.verify import Checked
from tasks.store.tables import REJECTS, commit_table
from tests.support.converted_runs import RUN_ID, write_run
from tests.support.finished_runs import grouped, judge_run, prediction
from tests.support.nights import decided_by, metrics_of, write_night
from tests.support.rehearsal import ROOT
from tests.support.shelf import Shelf

LONG = "/data/" + "a long name/" * 30 + "file"


def run(*arguments: object) -> str:
    """Return what a command prints; raises what it raises."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version") == f"wenti {version('wenti')}\n"


@pytest.mark.parametrize(
    "command", ["init", "run demo", "rerun latest", "export-results latest", "serve"]
)
def test_a_command_that_has_done_its_work_need_not_print(command: str) -> None:
    assert not is_printing(command.split())


@pytest.mark.parametrize("command", ["", "run demo --dry-run", "try demo", "show latest", "runs"])
def test_a_command_must_print_what_it_was_asked_for(command: str) -> None:
    assert is_printing(command.split())


@pytest.fixture
def config(shelf: Shelf, tmp_path: Path) -> Path:
    """A config whose store holds a run of its own and a newer one of another."""
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"store": {"path": str(shelf.store.root)}}))
    shelf.run(1, 1, 1, config=str(path))
    shelf.run(2, 2, 2, config=str(tmp_path / "other.yaml"))
    return path


def test_the_store_of_a_config_is_used_and_its_own_runs_are_meant(
    shelf: Shelf, config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = json.loads(run("runs", "--config", config, "--json"))
    assert [one["run_id"] for one in listed] == [shelf.runs[0].name]
    everything = run("runs", "--store", shelf.store.root)
    assert [line.split()[0] for line in everything.splitlines()[1:]] == [
        run.name for run in reversed(shelf.runs)
    ]
    garbage = json.loads(run("gc", "--config", config, "--keep-runs", "1", "--json"))
    assert garbage == {"removed": False, "garbage": []}  # both are the newest of their config
    shutil.rmtree(Path(shelf.store.root) / "datasets")  # they are not those of a real run
    status = json.loads(run("status", "latest", "--config", config, "--json"))
    assert status["run"]["run_id"] == shelf.runs[0].name
    verified = json.loads(run("verify", "newest", "--config", config, "--json"))
    assert {Path(one["path"]).parent.name for one in verified} > {shelf.runs[0].name}
    with pytest.raises(InputError, match="not both"):
        run("show", "latest", "--config", config, "--store", shelf.store.root)


def test_a_store_without_runs_says_where_it_is(tmp_path: Path) -> None:
    assert f"there are no runs in {tmp_path}" in run("runs", "--store", tmp_path)


def test_results_are_exported_and_it_is_told_what_is_not(tmp_path: Path) -> None:
    rows = [prediction(row, answer="山" if row < 2 else "长江") for row in range(14)]
    write_run(tmp_path / "store", rows, rows_missing=3, partial=True)
    store, file = ("--store", tmp_path / "store"), tmp_path / "questions"
    told = run("export-results", "latest", *store, "--to", "squad", "--output", file).splitlines()
    assert [" ".join(line.split()) for line in told] == [
        f"wrote {file}",
        "questions 2 of 2 rows",
        "left out 12 rows, because their answer is not in their passage; the first are "
        "2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "partial the run lacks 3 rows of shards that were not made",
    ]
    found = run("export-results", "latest", *store, "--to", "squad", "--output", file, "--json")
    assert json.loads(found) == {
        "path": str(file),
        "run_id": RUN_ID,
        "rows": 2,
        "questions": 2,
        "left_out": 12,
        "first_left_out": [*range(2, 12)],
        "rows_missing": 3,
        "fake": False,
    }
    assert CliRunner().invoke(app, ["export-results", "latest", "--to", "xml"]).exit_code == 2


def test_a_run_that_failed_because_it_is_suspect_is_looked_at_with_a_note(tmp_path: Path) -> None:
    rows = [prediction(row, question="谁？", output_ids=[2]) for row in range(2)]
    withheld = write_run(tmp_path, rows, state="failed", suspect=True, error="SuspectError: two")
    judge_run(withheld)
    commit_table(withheld / "rejects.parquet", REJECTS, [])
    (withheld / "_SUCCESS").unlink()
    of_run = (RUN_ID, "--store", str(tmp_path))
    shown = CliRunner().invoke(app, ["show", *of_run, "--flag", "duplicate"])
    assert "row 0: 谁？" in shown.stdout  # the original
    note = f"note: run {RUN_ID} failed because its questions are suspect; nothing of it was"
    assert note in shown.stderr
    (withheld / "report.html").write_text("the report", encoding="utf-8")
    assert run("report", *of_run).strip() == str(withheld / "report.html")
    assert "No question changed" in run("compare", RUN_ID, *of_run)
    with pytest.raises(InputError, match=r"has no results.*on_breach=warn"):
        run("export-results", *of_run, "--to", "csv")
    with pytest.warns(UserWarning, match="nothing of it was delivered"):
        assert len(wenti.results(withheld)) == 2
    with pytest.warns(UserWarning, match="nothing of it was delivered"):
        told = repr(wenti.compare(withheld, withheld)).splitlines()
    assert told[:2] == [f"{RUN_ID} → {RUN_ID}", "rows: 2 same"]
    assert told[2].startswith("BLEU-4: ")
    assert told[-1] == "duplicate: 1 → 1"


def test_the_trend_of_a_config_is_a_table_json_or_a_page(
    shelf: Shelf, config: Path, tmp_path: Path
) -> None:
    metrics = metrics_of(bleu_4=None, rouge_l=None, flags={"unfinished": 18})
    record = {"config_file": str(config)}
    first, second = (write_night(shelf.store, 90 + at, metrics, **record) for at in (0, 1))
    head, _of_shelf, *lines = run("trend", config).splitlines()
    assert head.split()[:8] == [
        *("run", "state", "rows", "rejects", "flagged", "unfinished", "duplicate", "score/token")
    ]
    assert "BLEU-4" not in head  # no run has it
    assert [line.split()[:6] for line in lines] == [
        [name, "completed", "1000", "10.0%", "2.9%", "2.0%"] for name in (first, second)
    ]
    changed = {"decided_by": decided_by(export={"decode": {"num_beams": 6}})}
    third = write_night(shelf.store, 92, metrics, **record, **changed)
    assert "flagged questions" not in run("trend", config)  # there are no groups
    lines = run("trend", config).splitlines()
    assert lines[-4].startswith(f"{third} * ")
    assert lines[-1] == f"  {third}  export: decode.num_beams was 4 and is 6"
    told = json.loads(run("trend", config, "-n", "1", "--json"))
    assert [one["run_id"] for one in told] == [third]
    page = tmp_path / "trend.html"
    for _ in range(2):  # the page of the night before is replaced
        said = run("trend", config, "--store", shelf.store.root, "--html", page)
        assert said.strip() == str(page)
    assert second in page.read_text(encoding="utf-8")
    (tmp_path / "mine.html").write_text("mine", encoding="utf-8")
    with pytest.raises(PreflightError, match="did not write it as a page of a trend; move it"):
        run("trend", config, "--html", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == "mine"
    with pytest.raises(InputError, match="give one of --html and --json"):
        run("trend", config, "--html", page, "--json")
    assert "there are no runs of" in run("trend", config, "--store", tmp_path / "nowhere")


def test_the_trend_ends_with_the_groups_of_the_newest_runs(shelf: Shelf, config: Path) -> None:
    for number, groups in enumerate((None, grouped("wiki"), grouped("news", "wiki"))):
        write_night(shelf.store, 90 + number, metrics_of(groups=groups), config_file=str(config))
    lines = run("trend", config).splitlines()[-3:]
    assert [line.split() for line in lines][1:] == [
        ["source=news", "33.3%"],
        ["source=wiki", "33.3%", "33.3%"],
    ]
    assert len(lines[0].split()) == 3


def test_a_narrow_terminal_gets_fewer_columns_of_the_trend() -> None:
    row = dict.fromkeys(("run", "duplicate", "unfinished", "generated", "cost", "changed"), "x")
    assert fit([row], 200) == ["run", "duplicate", "unfinished", "generated", "cost"]
    assert fit([row], 40) == ["run", "duplicate", "unfinished", "cost"]
    assert fit([row], 10) == ["run", "cost"]


def test_nothing_is_broken_or_cut_where_the_output_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_garbage([Garbage(Path(LONG), "no run refers to it", 7)], is_removed=False)
    print_findings(
        [Finding("store.path", f"{LONG} is a file", f"remove {LONG}")], "demo", "wenti run demo"
    )
    print_checked([Checked("export", LONG, "damaged", f"{LONG} is damaged")])
    output().print(f"x {LONG}")
    lines = capsys.readouterr().out.splitlines()
    assert sum(LONG in line for line in lines) == 4
    assert not any(line.rstrip().endswith("…") for line in lines)


def test_the_conclusion_of_the_doctor_repeats_what_was_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = "wenti run demo --set 'dataset.predict_file=day #1.jsonl' --date 2026-11-23"
    print_findings([Finding("paddle", "2.6.2", severity="ok")], "demo", told)
    assert capsys.readouterr().out.endswith(f"no problems found; start with: {told}\n")
    warning = Finding("memory", "little", "use less", severity="warning")
    print_findings([warning], "demo", told)
    assert capsys.readouterr().out.endswith(f"with 1 warning; start with: {told}\n")


def context(**parameters: object) -> typer.Context:
    made = typer.Context(typer.main.get_command(app))  # type: ignore[arg-type]
    made.params = dict(parameters)
    return made


def test_the_shell_completes_configs_keys_and_runs(
    shelf: Shelf, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WENTI_CONFIGS", str(ROOT / "configs"))
    assert complete_config("de") == ["demo"]
    assert complete_key("decode.num_") == ["decode.num_beams=", "decode.num_return_sequences="]
    fields = ["context", "answer", "reference", "id"]
    assert complete_key("dataset.fields") == [
        "dataset.fields=",
        *(f"dataset.fields.{name}=" for name in fields),
    ]
    ids = [run.name for run in reversed(shelf.runs)]
    in_store = context(store=str(shelf.store.root), config=None)
    assert complete_run(in_store, "") == ["latest", "newest", *ids]
    assert complete_run(context(store=None, config=str(config)), "2026") == ids
    assert complete_run(context(store=None, config="no such config"), "") == []
