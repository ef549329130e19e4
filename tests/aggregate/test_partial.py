from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.aggregate.metrics import make_metrics
from tasks.aggregate.outputs import commit_marked, write_output, write_predictions
from tasks.aggregate.partial import Missing, name_shards, raise_if_missing
from tasks.errors import ShardsFailedError, StorageError
from tasks.operations.rerun import parse_shards
from tasks.plan.plan import Plan
from tasks.predict.jobs import ShardOutcome, plan_jobs
from tasks.store.manifest import Manifest
from tasks.store.tables import REJECTS_OF_FILES, commit_table, iterate_rows, make_batches
from tests.support.small_shards import (
    ACCEPTED,
    EOS,
    GUILTY,
    ROWS_IN,
    SHARDS,
    UNUSABLE,
    plan_small_shards,
    predict,
    write_dataset,
    write_run,
)

WHOLE_RUN = {"predictions.parquet", "predictions.jsonl", "predictions.txt", "rejects.parquet"}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_small_shards(tmp_path)


@pytest.fixture
def dataset(plan: Plan) -> Manifest:
    return write_dataset(plan)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SUBSETS = [
    subset for size in range(len(SHARDS)) for subset in combinations(range(len(SHARDS)), size)
]


@pytest.mark.parametrize("failed", SUBSETS)
def test_every_input_row_is_a_prediction_or_a_reject_with_its_reason(
    plan: Plan, dataset: Manifest, tmp_path: Path, failed: tuple[int, ...]
) -> None:
    write_run(plan, dataset, tmp_path / "run", failed)
    reasons = dict.fromkeys(UNUSABLE, ("not_json", None, "no object"))
    reasons[GUILTY] = ("engine_crash", f"id-{GUILTY}", "it crashed")
    for shard in failed:
        why = f"the worker of {shard} died"
        reasons |= {row: ("shard_failed", f"id-{row}", why) for row in SHARDS[shard]}
    rejects = pq.read_table(tmp_path / "run/rejects.parquet").to_pylist()
    found = [(row["row"], (row["reason"], row["id"], row["detail"])) for row in rejects]
    assert found == sorted(reasons.items())
    predictions = pq.read_table(tmp_path / "run/predictions.parquet")
    kept = [row for row in range(ROWS_IN) if row not in reasons]
    assert predictions["row"].to_pylist() == kept
    assert predictions["question"].to_pylist() == [f"q{row}" for row in kept]
    assert predictions["is_finished"].to_pylist() == [row == EOS for row in kept]
    assert predictions["token_count"].to_pylist() == [1] * len(kept)
    lines = (tmp_path / "run/predictions.txt").read_text(encoding="utf-8").split("\n")
    assert lines == ["" if row in reasons else f"q{row}" for row in range(ROWS_IN)] + [""]


@pytest.mark.parametrize("failed", [(), (1,), (0, 3), (0, 1, 2)])
def test_metrics_count_what_is_in_the_files(
    plan: Plan, dataset: Manifest, tmp_path: Path, failed: tuple[int, ...]
) -> None:
    write_run(plan, dataset, tmp_path / "run", failed)
    metrics = make_metrics(dataset, predict(plan, dataset, failed), {}, {}, {}, {})
    counts = {
        name: pq.read_metadata(tmp_path / f"run/{name}.parquet").num_rows
        for name in ("predictions", "rejects")
    }
    assert {name: metrics[name] for name in counts} == counts
    assert metrics["rows_in"] == sum(counts.values())
    reasons = pq.read_table(tmp_path / "run/rejects.parquet")["reason"].to_pylist()
    assert metrics["reject_reasons"] == Counter(reasons)
    assert metrics["reject_share"] == len(reasons) / ROWS_IN
    assert metrics["partial"] is bool(failed)
    assert metrics["rows_missing"] == sum(len(SHARDS[shard]) for shard in failed)
    assert metrics["shards_failed"] == len(failed)


def test_every_reject_of_several_files_names_its_file(
    plan: Plan, dataset: Manifest, tmp_path: Path
) -> None:
    path = plan.dataset.folder / "rejects.parquet"
    files = ["a"] * 8 + ["b/c"] * 12
    unusable = [{**row, "file": files[row["row"]]} for row in iterate_rows(path)]
    commit_table(path, REJECTS_OF_FILES, make_batches(unusable, REJECTS_OF_FILES))
    file_rows = {"file_rows": [("a", 8), ("b/c", 12)]}
    named = dataset.model_copy(update={"details": dataset.details | file_rows})
    write_run(plan, named, tmp_path / "run", (3,))
    rejects = pq.read_table(tmp_path / "run/rejects.parquet")
    assert rejects.column_names == REJECTS_OF_FILES.names
    assert rejects["row"].to_pylist() == [3, GUILTY, 10, *SHARDS[3]]
    assert rejects["file"].to_pylist() == ["a", "a", *["b/c"] * (1 + len(SHARDS[3]))]


def test_every_output_says_that_it_is_partial_and_what_is_missing(
    plan: Plan, dataset: Manifest, tmp_path: Path
) -> None:
    run, output = tmp_path / "run", tmp_path / "out/questions.txt"
    missing = write_run(plan, dataset, run, failed=(1, 3))
    write_output(run / "predictions.parquet", ROWS_IN, output, missing)
    # Shard 1 has the rows 6, 7, 8, 9 and 11; the load stage rejected row 10.
    shards = [
        {"shard": 1, "state": "failed", "rows": 5, "first_row": 6, "last_row": 11}
        | {"error": "the worker of 1 died"},
        {"shard": 3, "state": "failed", "rows": 3, "first_row": 17, "last_row": 19}
        | {"error": "the worker of 3 died"},
    ]
    summaries = [
        json.loads(pq.read_schema(run / name).metadata[b"wenti.partial"])
        for name in ("predictions.parquet", "rejects.parquet")
    ]
    texts = [
        run / "predictions.txt",
        output,
        output.with_name("questions.txt.reference.txt"),
    ]
    summaries += [json.loads(text.with_name(f"{text.name}.partial").read_text()) for text in texts]
    for summary in summaries:
        assert summary["shards"] == shards
        assert summary["rows_missing"] == 8
        assert "run the same config again" in summary["remedy"]
    lines = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(ACCEPTED) - 8
    assert all(json.loads(line)["partial"] is True for line in lines)


def test_a_whole_run_carries_no_mark(plan: Plan, dataset: Manifest, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "out/questions.txt"
    write_output(run / "predictions.parquet", ROWS_IN, output, write_run(plan, dataset, run))
    assert set(contents(run)) == WHOLE_RUN
    assert set(contents(output.parent)) == {"questions.txt", "questions.txt.reference.txt"}
    for name in ("predictions.parquet", "rejects.parquet"):
        assert pq.read_schema(run / name).metadata is None
    lines = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    fields = {"row", "id", "context", "answer", "question", "reference", "score"}
    assert all(set(json.loads(line)) == fields for line in lines)


def test_the_next_run_that_is_whole_gives_the_bytes_of_an_undisturbed_one_and_takes_marks_away(
    plan: Plan, dataset: Manifest, tmp_path: Path
) -> None:
    for place, faults in (("undisturbed", [()]), ("disturbed", [(0, 2), (2,), ()])):
        for failed in faults:
            run = tmp_path / place / f"run-{len(failed)}"
            missing = write_run(plan, dataset, run, failed)
            text = tmp_path / place / "out/q.txt"
            write_output(run / "predictions.parquet", ROWS_IN, text, missing)
    for folder in ("run-0", "out"):
        assert contents(tmp_path / "disturbed" / folder) == contents(
            tmp_path / "undisturbed" / folder
        )


def test_a_text_without_all_its_rows_never_stands_without_its_mark(
    plan: Plan, dataset: Manifest, tmp_path: Path
) -> None:
    missing = Missing(tuple(predict(plan, dataset, failed=(1,)).missing))
    text, mark = tmp_path / "q.txt", tmp_path / "q.txt.partial"

    def look() -> Iterator[str]:
        assert mark.exists()
        yield "a question"

    commit_marked(text, look, missing)
    assert (text.exists(), mark.exists()) == (True, True)
    commit_marked(text, look, Missing())
    assert (text.exists(), mark.exists()) == (True, False)


def test_a_mark_that_cannot_be_written_is_a_message_with_the_key_and_leaves_the_text(
    plan: Plan, dataset: Manifest, small_disk: Path
) -> None:
    missing = Missing(tuple(predict(plan, dataset, failed=(1,)).missing))
    (small_disk / "q.txt").write_text("all the questions\n")
    (small_disk / "filler").write_bytes(bytes(252 << 10))
    with pytest.raises(StorageError, match=r"disk is full.*aggregate\.output_path"):
        commit_marked(small_disk / "q.txt", lambda: iter(["q"]), missing, "aggregate.output_path")
    assert (small_disk / "q.txt").read_text() == "all the questions\n"
    assert {path.name for path in small_disk.iterdir()} == {"q.txt", "filler"}


def test_failed_shards_are_an_error_that_names_each_and_the_option(
    plan: Plan, dataset: Manifest
) -> None:
    prediction = predict(plan, dataset, failed=(1, 3))
    with pytest.raises(ShardsFailedError) as caught:
        raise_if_missing(prediction, allow_partial=False)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("2 of 4 shards failed")
    assert "aggregate.allow_partial" in first
    assert lines == ["  shard 1: the worker of 1 died", "  shard 3: the worker of 3 died"]
    assert caught.value.exit_code == 3


def test_without_failures_or_with_leave_to_go_on_there_is_no_error(
    plan: Plan, dataset: Manifest
) -> None:
    raise_if_missing(predict(plan, dataset), allow_partial=False)
    raise_if_missing(predict(plan, dataset, failed=(0, 1, 2)), allow_partial=True)


def test_when_every_shard_failed_there_is_nothing_to_go_on_with(
    plan: Plan, dataset: Manifest
) -> None:
    prediction = predict(plan, dataset, failed=(0, 1, 2, 3))
    with pytest.raises(ShardsFailedError, match="4 of 4 shards failed") as caught:
        raise_if_missing(prediction, allow_partial=True)
    assert "allow_partial" not in str(caught.value)


def test_shards_that_were_left_out_are_not_told_as_failed(
    plan: Plan, dataset: Manifest, tmp_path: Path
) -> None:
    prediction = predict(plan, dataset, failed=(2,), left_out=(0, 1))
    with pytest.raises(ShardsFailedError) as caught:
        raise_if_missing(prediction, allow_partial=False)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("1 of 4 shards failed, 2 were left out (")
    assert "a rerun without chosen shards makes what is missing" in first
    assert "same command" not in first
    assert lines == [
        "  shard 2: the worker of 2 died",
        "  shards 0-1: left out of this rerun, which made only chosen shards",
    ]
    missing = Missing(tuple(prediction.missing))
    write_predictions(plan, dataset, prediction, missing, tmp_path, EOS)
    reasons = Counter(pq.read_table(tmp_path / "rejects.parquet")["reason"].to_pylist())
    assert reasons == {"not_json": 2, "shard_left_out": 10, "shard_failed": 5}
    assert [shard["state"] for shard in missing.summary["shards"]] == ["left out"] * 2 + ["failed"]
    metrics = make_metrics(dataset, prediction, {}, {}, {}, {})
    assert metrics["reject_reasons"] == reasons
    assert (metrics["shards_failed"], metrics["shards_left_out"]) == (1, 2)
    assert (metrics["partial"], metrics["rows_missing"]) == (True, 15)


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8"), ([1, 3], "1,3")]
)
def test_shards_are_named_as_a_rerun_takes_them(numbers: list[int], text: str) -> None:
    assert name_shards(numbers) == text
    assert (parse_shards(text) if text else []) == numbers


def test_a_shard_that_failed_without_a_word_still_has_a_reason(
    plan: Plan, dataset: Manifest
) -> None:
    job = plan_jobs(plan, dataset)[0]
    missing = Missing((ShardOutcome(job, None, error=""),))
    assert {row["detail"] for row in missing.rejects()} == {"unknown reason"}
