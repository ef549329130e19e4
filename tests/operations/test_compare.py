from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flows.cli import console
from flows.cli.tables.comparison import print_comparison, shorten_around
from tasks.operations.compare import Change, Comparison, Metric, choose, compare_runs, find_causes
from tasks.operations.pairing import Row
from tasks.quality.flags import FLAGS
from tasks.runs.record import RunRecord
from tasks.runs.results import RUN_FILE, SUCCESS_FILE
from tasks.runs.run import commit_json
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table
from tests.support.commands import RunFlow, wenti
from tests.support.finished_runs import judge_run
from tests.support.rehearsal import ROOT
from tests.support.run_records import least_record

Record = dict[str, Any]

NO_FLAGS = dict.fromkeys(FLAGS, 0)
PASSAGE = "长江是中国最长的河流，全长约6300公里，发源于青藏高原的唐古拉山脉，在上海注入东海。"


def predicted(row: int, name: str, question: str, **texts: str | None) -> Record:
    """Return a row of predictions.parquet, by default without a reference."""
    given = {"context": f"{PASSAGE}{name}", "answer": "唐古拉山脉", "reference": None, **texts}
    rest = {"score": -0.5, "output_ids": [1], "alternatives": [], "unknown_tokens": 0}
    rest |= {"is_finished": False, "token_count": 1}
    return {"row": row, "id": name, "question": question, **given, **rest}


def rejected(row: int, name: str) -> Record:
    return {"row": row, "line": row + 1, "id": name, "reason": "timeout", "detail": "too slow"}


def write_run(
    store: Path, run_id: str, predictions: list[Record], rejects: list[Record], **record: object
) -> Path:
    """Write the results of a run that a comparison reads."""
    folder = store / "runs" / run_id
    tables = ((PREDICTIONS, predictions, "predictions"), (REJECTS, rejects, "rejects"))
    for schema, rows, name in tables:
        batches = [pa.RecordBatch.from_pylist([row], schema=schema) for row in rows]
        commit_table(folder / f"{name}.parquet", schema, batches)
    commit_json(folder / RUN_FILE, least_record(run_id, **record))
    commit_json(folder / SUCCESS_FILE, {})
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs without a common reference; the second's input has grown and was reordered."""
    a = [predicted(n, name, f"{name}是什么？") for n, name in enumerate("abcde")]
    a[1]["reference"] = "what b had before"
    b = [
        predicted(0, "new", "？"),
        predicted(1, "e", "e在哪里？"),
        predicted(2, "c", "c是什么？", answer="东海"),
        predicted(3, "b", "b是什么？", reference="what b has now"),
        predicted(5, "d", "d在哪里？"),
    ]
    decided: Record = {"export": {"decode": {"num_beams": 6}}, "dataset": {}, "predictions": {}}
    now = {**decided, "export": {"decode": {"num_beams": 2}}}
    return (
        write_run(tmp_path, "20260101-000000-aaaaaa", a, [rejected(5, "f")], decided_by=decided),
        write_run(tmp_path, "20260102-000000-bbbbbb", b, [rejected(4, "a")], decided_by=now),
    )


def test_flags_are_counted_in_each_run(runs: tuple[Path, Path]) -> None:
    judge_run(runs[1])
    flags = compare_runs(*runs, 0).flags
    assert flags["a"] is None
    assert flags["b"] == {**NO_FLAGS, "rows": 5, "unfinished": 5, "empty": 1}


def test_rows_are_found_again_in_an_input_that_grew_and_has_another_order(
    runs: tuple[Path, Path],
) -> None:
    found = compare_runs(*runs, most=10)
    assert {kind: count for kind, count in found.rows.items() if count} == {
        "same": 1,
        "changed": 2,
        "other_input": 1,
        "rejected_in_b": 1,
        "only_in_a": 1,
        "only_in_b": 1,
    }
    assert found.reasons == {"rejected_in_a": {}, "rejected_in_b": {"timeout": 1}}
    assert found.causes == ["export: decode.num_beams was 6 and is 2"]
    assert [(q["id"], q["row_a"], q["row_b"]) for q in found.questions] == [
        ("d", 3, 5),
        ("e", 4, 1),
    ]
    assert [q["context"] for q in found.questions] == [f"{PASSAGE}d", f"{PASSAGE}e"]
    shown = [(q["question_a"], q["question_b"]) for q in found.questions]
    assert shown == [("d是什么？", "d在哪里？"), ("e是什么？", "e在哪里？")]
    assert (found.metrics, found.scored) == ([], 0)


def test_without_references_there_is_a_sentence_instead_of_metrics(
    runs: tuple[Path, Path],
) -> None:
    done = wenti("compare", runs[0].name, runs[1].name, "--store", str(runs[0].parents[1]), "-n1")
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    for words in (
        "A → B export: decode.num_beams was 6 and is 2",
        "2 with a different question",
        "1 rejected in B only: timeout 1",
        "There are no metrics: no row has the same reference in both runs.",
        "1 of 2 changed questions, in input order:",
        "A d是什么？ B d在哪里？",
    ):
        assert words in text
    assert "BLEU" not in text


def test_a_run_beside_itself_is_told_to_be_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts: Record = {"export": {}, "dataset": {}, "predictions": {}}
    rows = [predicted(row, str(row), "？") for row in range(5)]
    run = write_run(tmp_path, "20260101-000000-aaaaaa", rows, [rejected(5, "f")], decided_by=parts)
    print_comparison(compare_runs(run, run, most=10))
    text = " ".join(capsys.readouterr().out.split())
    assert "aaaaaa, the same run A → B nothing: the same settings" in text
    assert "rows 5 with the same question 1 rejected in both" in text
    assert "No question changed." in text


def test_runs_that_have_no_row_in_common_are_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (write_run(tmp_path, f"2026-{x}", [predicted(0, x, "？")], []) for x in "xy")
    print_comparison(compare_runs(a, b, most=10))
    text = capsys.readouterr().out
    assert "There is nothing to compare" in text
    assert "unknown: one of the runs was made by an older version of Wenti" in text
    assert "1 in A only" in text


def test_a_run_without_results_is_refused(runs: tuple[Path, Path]) -> None:
    (runs[1] / SUCCESS_FILE).unlink()
    for names in (runs, runs[::-1]):
        done = wenti("compare", *map(str, names))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"run {runs[1].name} has no results, it has no {SUCCESS_FILE}" in done.stderr


def test_what_decided_an_older_run_is_not_known() -> None:
    parts: Record = {"export": {}, "dataset": {}, "predictions": {}}
    older, other, run = (
        RunRecord.model_validate(least_record(**values))
        for values in ({}, {"decided_by": {"export": {}}}, {"decided_by": parts})
    )
    assert find_causes(older, run) is None
    assert find_causes(run, other) is None
    assert find_causes(run, run) == []


def test_the_rules_that_drop_questions_are_a_cause() -> None:
    decided = {"decided_by": {name: {} for name in ("export", "dataset", "predictions")}}
    keeps = (None, {"finished": None}, {"finished": True, "empty": None, "near_duplicate": False})
    none, empty, run = (
        RunRecord.model_validate(least_record(config={"aggregate": {"keep": keep}}, **decided))
        for keep in keeps
    )
    assert find_causes(none, empty) == []
    assert find_causes(none, run) == [
        "aggregate: aggregate.keep was null and is {finished: true, near_duplicate: false}"
    ]


def test_two_real_runs_are_compared_by_their_metrics_and_questions(
    run_demo: RunFlow, tmp_path: Path
) -> None:
    source = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    passages = tmp_path / "passages.jsonl"
    passages.write_text("\n".join(source[:40]), encoding="utf-8")
    options = ("export.engine=fake", f"dataset.predict_file={passages}")
    results = [run_demo(tmp_path / "store", *options, f"decode.max_dec_len={n}") for n in (20, 12)]
    folders = [Path(result["folder"]) for result in results]
    a, b = (pq.read_table(folder / "predictions.parquet").to_pylist() for folder in folders)
    changed = {x["id"]: (x, y) for x, y in zip(a, b, strict=True) if x["question"] != y["question"]}

    done = wenti("compare", *map(str, folders), "-n", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["causes"][0] == "export: decode.max_dec_len was 20 and is 12"
    assert (found["rows"]["same"], found["rows"]["changed"]) == (40 - len(changed), len(changed))
    assert found["scored"] == 40
    for metric in found["metrics"]:
        before, after = (result["metrics"][metric["name"]] for result in results)
        assert (metric["a"], metric["b"]) == (before, after)
        assert metric["difference"] == pytest.approx(after - before, abs=1.1e-4)
        assert metric["low"] <= metric["difference"] <= metric["high"]
    assert len(found["questions"]) == 4
    for shown in found["questions"]:
        x, y = changed[shown["id"]]
        assert (shown["question_a"], shown["question_b"]) == (x["question"], y["question"])
        assert (shown["context"], shown["reference"]) == (x["context"], x["reference"])
    gains = [shown["bleu_b"] - shown["bleu_a"] for shown in found["questions"]]
    assert gains[0] == max(gains)


def change(name: str, a: float | None, b: float | None) -> Change:
    row = Row(0, name, question=name)
    return Change(row, replace(row, question="?"), a, b)


def test_the_biggest_gain_and_the_biggest_loss_come_first() -> None:
    changes = [
        change("as good", 5, 5),
        change("-1", 9, 8),
        change("+2", 1, 3),
        change("no reference", None, None),
        change("-30", 40, 10),
        change("+50", 0, 50),
        change("+1", 1, 2),
    ]
    names = [one.a.id for one in choose(changes, 10)]
    assert names == ["+50", "-30", "+2", "-1", "+1", "as good", "no reference"]
    assert [one.a.id for one in choose(changes, 3)] == names[:3]


@given(st.lists(st.none() | st.tuples(*[st.floats(0, 100)] * 2)), st.integers(0, 20))
def test_of_the_changes_so_many_are_chosen_and_each_once(
    bleus: list[tuple[float, float] | None], most: int
) -> None:
    changes = [change(str(n), *(both or (None, None))) for n, both in enumerate(bleus)]
    chosen = choose(changes, most)
    assert len(chosen) == len({one.a.id for one in chosen}) == min(most, len(changes))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 2, "B is better"),
        (-2, -0.1, "B is worse"),
        (-1, 2, "no clear difference"),
        (0, 2, "no clear difference"),
        (0, 0, "no difference"),
    ],
)
def test_the_verdict_says_whether_the_interval_excludes_0(
    low: float, high: float, verdict: str
) -> None:
    assert Metric("bleu_4", 40, 40 + (low + high) / 2, low, high).verdict == verdict


def comparison(question: Record, scored: int = 300) -> Comparison:
    """Return a comparison of runs with one changed question."""
    run = {"run_id": "20260101-000000-aaaaaa", "folder": "/a"}
    rows = {"same": scored - 1, "changed": 1}
    rows |= dict.fromkeys(("other_input", "rejected_in_a", "rejected_in_b"), 0)
    rows |= dict.fromkeys(("rejected_in_both", "only_in_a", "only_in_b"), 0)
    metrics = [
        Metric("bleu_4", 41.08, 43.2, 1.02, 3.21),
        Metric("sacrebleu_zh", 41, 40.5, -1.5, 0.25),
    ]
    shown = {
        "context": f"Andrew {PASSAGE}" * 9,
        "answer": "唐古拉山脉",
        "reference": "长江有多长？",
        **question,
    }
    texts = {
        "question_a": "长江在哪里？",
        "question_b": "长江有多长？",
        "bleu_a": 30.0,
        "bleu_b": 100.0,
    }
    return Comparison(
        a=run,
        b={**run, "folder": "/b"},
        causes=["export: decode.num_beams was 6 and is 2"],
        rows=rows,
        reasons={},
        flags={"a": {**NO_FLAGS, "rows": 300, "duplicate": 9}, "b": {**NO_FLAGS, "rows": 200}},
        scored=scored,
        metrics=metrics,
        questions=[{"id": "x", "row_a": 0, "row_b": 0, **texts, **shown}],
    )


@pytest.mark.parametrize("width", [40, 80, 140])
def test_tables_fit_the_terminal_and_a_passage_takes_two_lines(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "UNLIMITED", width)  # of what is no terminal, as here
    print_comparison(comparison({}))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= width
    start = next(n for n, line in enumerate(lines) if line.startswith("passage"))
    assert cell_len(lines[start].rstrip()) >= width - 1
    assert lines[start + 2].startswith("answer")
    if width >= 80:
        (bleu,) = [line.split() for line in lines if line.startswith("BLEU-4")]
        assert " ".join(bleu) == "BLEU-4 41.08 43.20 +2.12 +1.02 … +3.21 B is better"
        (flag,) = [line.split() for line in lines if line.startswith("duplicate")]
        assert " ".join(flag) == "duplicate 9 3.0% 0 0.0% -3.0%"
        assert not any(line.startswith("empty") for line in lines)
        assert any(line.startswith("id") and "BLEU 30.0 → 100.0 (+70.0)" in line for line in lines)


def test_what_only_one_question_has_is_coloured_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    print_comparison(comparison({}))
    colored = re.findall("\x1b\\[1;(3[12])m(.*?)\x1b\\[0m", capsys.readouterr().out)
    assert colored == [("31", "在哪里"), ("32", "有多长")]


def test_text_sends_a_terminal_nothing_but_itself(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[red]江:smile:\x1b[2J\x9b2J\u202e"
    texts = dict.fromkeys(("id", "context", "answer", "reference", "question_a"), hostile)
    found = comparison(texts)
    found.a["run_id"] = found.b["run_id"] = hostile
    print_comparison(replace(found, causes=[hostile], reasons={"changed": {hostile: 1}}))
    shown = capsys.readouterr().out
    assert not set("\x1b\x9b\u202e") & set(shown)
    assert shown.count(r"[red]江:smile:\x1b[2J\x9b2J\u202e") == 9


def test_few_rows_are_said_to_be_few(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(comparison({}, scored=30))
    assert "few rows" not in capsys.readouterr().out
    print_comparison(comparison({}, scored=29))
    assert "few rows" in capsys.readouterr().out


@given(
    st.text("长江 \n。"), st.text("答 案", max_size=8), st.text("长江 \n。"), st.integers(10, 40)
)
def test_a_shortened_passage_is_one_line_that_shows_the_answer(
    before: str, answer: str, behind: str, longest: int
) -> None:
    line = " ".join((before + answer + behind).split())
    short = shorten_around(before + answer + behind, answer, longest)
    assert len(short) <= longest
    assert short == line or len(short) >= longest - 1
    assert short.strip("…") in line
    assert " ".join(answer.split()) in short
