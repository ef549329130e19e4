"""The results of a run whose questions have to be good."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.aggregate.joining.kept import Kept
from tasks.aggregate.metrics import describe_dropped, make_metrics
from tasks.aggregate.outputs import write_output, write_predictions
from tasks.aggregate.partial import Missing
from tasks.aggregate.rejects import check_all_rejects
from tasks.config.settings import DecodeSettings
from tasks.engine.contract import Contract, SpecialTokens, write_contract
from tasks.plan.plan import Plan
from tasks.predict.jobs import Prediction
from tasks.quality.quality_file import write_quality
from tasks.report.facts import count_unusable, has_many_rejects
from tasks.store.files import describe_file
from tasks.store.manifest import Manifest
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
)

MADE = [row for row in ACCEPTED if row != GUILTY]  # each has a question of its own, `q<row>`
FINISHED = "{finished: true}"
ASKING = "{asking: true}"


def plan(tmp_path: Path, keep: str = "") -> Plan:
    """Return the plan of a job with an export; the jobs of a test share a store."""
    folder = tmp_path / f"job {keep}"
    folder.mkdir()
    store = f"store.path={tmp_path / 'store'}"
    planned = plan_small_shards(folder, store, *([f"aggregate.keep={keep}"] if keep else []))
    contract = Contract(
        engine="fake",
        engine_version=1,
        paddle_version="",
        inputs=(),
        outputs=(),
        decode=DecodeSettings(),
        special_tokens=SpecialTokens(unk=50, pad=0, bos=1, eos=EOS),
        vocab_size=51,
        type_vocab_size=1,
        max_positions=8,
        num_sequences=1,
    )
    planned.export.folder.mkdir(parents=True, exist_ok=True)
    write_contract(contract, planned.export.folder)
    return planned


def write(
    planned: Plan, folder: Path, failed: tuple[int, ...] = ()
) -> tuple[Kept, Manifest, Prediction]:
    dataset = write_dataset(planned)
    prediction = predict(planned, dataset, failed)
    missing = Missing(tuple(prediction.missing))
    return (
        write_predictions(planned, dataset, prediction, missing, folder, EOS),
        dataset,
        prediction,
    )


@pytest.mark.parametrize("failed", [(), (1, 3)])
def test_every_row_is_a_prediction_or_a_reject_also_if_questions_are_dropped(
    tmp_path: Path, failed: tuple[int, ...]
) -> None:
    run = tmp_path / "run"
    kept, dataset, prediction = write(plan(tmp_path, FINISHED), run, failed)
    missing = [row for shard in failed for row in SHARDS[shard]]
    left = [row for row in MADE if row not in missing]
    predictions, rejects = (
        pq.read_table(run / name) for name in ("predictions.parquet", "rejects.parquet")
    )
    assert predictions["row"].to_pylist() == [EOS]  # the only question that ended
    assert pq.read_table(run / "quality.parquet")["row"].to_pylist() == [EOS]
    reasons = dict(zip(rejects["row"].to_pylist(), rejects["reason"].to_pylist(), strict=True))
    dropped = dict.fromkeys((row for row in left if row != EOS), "quality:unfinished")
    others = {**dict.fromkeys(UNUSABLE, "not_json"), GUILTY: "engine_crash"}
    assert reasons == dropped | others | dict.fromkeys(missing, "shard_failed")
    assert list(reasons) == sorted(reasons)
    lines = (run / "predictions.txt").read_text().split("\n")
    assert lines == ["q12" if row == EOS else "" for row in range(ROWS_IN)] + [""]
    metrics = make_metrics(dataset, prediction, kept.dropped, {}, {}, {})
    assert metrics["predictions"] + metrics["rejects"] == metrics["rows_in"] == ROWS_IN
    assert (metrics["predictions"], metrics["rows_dropped"]) == (1, len(dropped))
    assert metrics["reject_reasons"]["quality:unfinished"] == len(dropped)


def test_dropped_questions_are_no_rejects_of_the_passages(tmp_path: Path) -> None:
    run = tmp_path / "run"
    kept, dataset, prediction = write(plan(tmp_path, FINISHED), run)
    check_all_rejects(3, dataset, prediction, run / "rejects.parquet")  # 3 besides the dropped ones
    metrics = make_metrics(dataset, prediction, kept.dropped, {}, {}, {})
    assert (count_unusable(metrics), metrics["reject_share"]) == (3, 3 / ROWS_IN)
    assert has_many_rejects(metrics)
    assert not has_many_rejects(metrics | {"rows_in": 100})
    assert describe_dropped(kept.dropped, len(MADE)) == "16 of 17 rows (94.1 %): unfinished 16"


def test_the_metrics_tell_the_quality_of_all_questions_and_the_file_that_of_the_kept_ones(
    tmp_path: Path,
) -> None:
    kept, _, _ = write(plan(tmp_path, FINISHED), tmp_path / "run")
    assert kept.quality is not None
    assert (kept.quality["rows"], kept.quality["flags"]["unfinished"]) == (len(MADE), 16)


def test_other_rules_find_the_questions_judged(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    every, judged = (tmp_path / "all" / name for name in ("predictions.parquet", "quality.parquet"))
    kept, _, _ = write(planned, tmp_path / "all")
    assert kept.predictions == describe_file(every)
    assert not judged.exists()  # the stage judges them itself
    write_quality(planned, every, kept.predictions, judged)
    made = planned.predictions.folder / "quality.json"
    before = made.stat().st_mtime_ns
    write(plan(tmp_path, FINISHED), tmp_path / "finished")
    write(plan(tmp_path, ASKING), tmp_path / "asking")
    assert made.stat().st_mtime_ns == before
    assert [path.name for path in planned.predictions.folder.iterdir() if path.is_dir()] == []


def test_a_rule_that_drops_no_question_changes_no_row(tmp_path: Path) -> None:
    write(plan(tmp_path), tmp_path / "all")
    write(plan(tmp_path, "{unknown: false}"), tmp_path / "kept")
    for path in (tmp_path / "all").iterdir():
        other = tmp_path / "kept" / path.name
        if path.suffix == ".parquet":
            assert pq.read_table(other).equals(pq.read_table(path), check_metadata=True), path.name
        else:
            assert other.read_bytes() == path.read_bytes(), path.name


def test_if_every_question_is_dropped_the_files_are_whole_and_empty(tmp_path: Path) -> None:
    kept, _, _ = write(plan(tmp_path, ASKING), tmp_path / "run")
    assert sum(kept.dropped.values()) == len(MADE)
    assert pq.read_table(tmp_path / "run/predictions.parquet").num_rows == 0
    write_output(tmp_path / "run/predictions.parquet", ROWS_IN, tmp_path / "q.txt", Missing())
    assert (tmp_path / "q.txt").read_text() == "\n" * ROWS_IN
