"""The runs of a config over time, and what was changed between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.report.trend.history import RunFigures, list_groups, read_history
from tasks.store.layout import Store
from tests.support.finished_runs import grouped
from tests.support.nights import CONFIG, decided_by, metrics_of, write_night, write_nights


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def read(store: Store, most: int | None = None) -> list[RunFigures]:
    return read_history(store, Path(CONFIG), most)


def test_the_runs_of_a_config_are_listed_oldest_first_with_their_figures(store: Store) -> None:
    first = write_night(store, 0, metrics_of(flags={"unfinished": 9}))
    write_night(store, 1, metrics_of(), config_file="/jobs/other.yaml")
    second = write_night(store, 2, metrics_of(), suspect=True)
    runs = read(store)
    assert [run.state.run_id for run in runs] == [first, second]
    assert [run.state.state for run in runs] == ["completed", "suspect"]
    run = runs[0]
    assert (run.rows_in, run.judged, run.rejects, run.rows_made) == (1000, 900, 100, 500)
    assert (run.reject_share, run.flag_share("unfinished")) == (0.1, 0.01)
    assert run.flagged_share == 17 / 900
    assert (run.score_per_token, run.bleu_4, run.rouge_l, run.cost) == (-0.125, 41.5, 52.25, 1.5)
    assert run.as_dict()["run_id"] == first
    assert run.as_dict()["flags"]["unfinished"] == 9


def test_dropped_questions_are_judged_and_are_no_rejects(store: Store) -> None:
    write_night(store, 0, metrics_of(predictions=880, rejects=120, rows_dropped=20))
    (run,) = read(store)
    assert (run.rejects, run.rows_dropped, run.judged) == (100, 20, 900)
    assert run.flagged_share == 8 / 900


def test_a_failed_run_and_one_of_an_older_version_have_what_is_known(store: Store) -> None:
    write_night(store, 0, None, error="full")
    write_night(store, 1, {"rows_in": 5, "predictions": 5, "rejects": 0})
    failed, older = read(store)
    assert (failed.state.state, failed.state.error) == ("failed", "full")
    assert (failed.rows_in, failed.flagged_share, failed.cost) == (None, None, None)
    assert (older.rows_in, older.reject_share, older.flagged) == (5, 0.0, None)
    assert older.flag_share("unfinished") is None


def test_changes_of_model_and_options_are_told_and_other_passages_are_not(store: Store) -> None:
    tonight = {"passages": {"kind": ".jsonl", "sha256": "of tonight"}}
    write_night(store, 0, metrics_of())
    write_night(store, 1, metrics_of(), decided_by=decided_by(dataset=tonight))
    changed = decided_by(export={"decode": {"num_beams": 6}}, predictions={"batch_size": 32})
    write_night(store, 2, None, decided_by=changed)
    write_night(store, 3, metrics_of(), decided_by=changed)
    model = decided_by(export={"model": {"model_state.pdparams": "other"}})
    write_night(store, 4, metrics_of(), decided_by=model)
    write_night(store, 5, metrics_of(), decided_by=None)
    beams = (
        "export: decode.num_beams was 4 and is 6",
        "predict: predict.batch_size was 16 and is 32",
    )
    told = [run.changes for run in read(store)]
    assert told[:2] == [(), ()]
    assert told[2] == told[3] == beams  # compared with the last run that has figures
    assert told[4][0].startswith("export: ")
    assert "model file model_state.pdparams changed" in told[4][0]
    assert told[5] == ()


def test_a_damaged_record_is_left_out_and_damaged_metrics_are_unknown(store: Store) -> None:
    write_night(store, 0, metrics_of(), started="2026-11-0x")
    for number, metrics in enumerate(({"quality": {"rows": "x"}}, {"rejects": []}), start=1):
        write_night(store, number, metrics_of() | metrics)
    runs = read(store)
    assert [(run.state.state, run.rows_in, run.flags) for run in runs] == [
        ("completed", None, {})
    ] * 2


def test_rehearsals_and_tries_are_named(store: Store) -> None:
    made_up = decided_by(export={"engine": "fake"})
    write_night(store, 0, metrics_of(), decided_by=made_up)
    write_night(store, 1, metrics_of(), config={"dataset": {"limit": 9}})
    write_night(store, 2, metrics_of())
    assert [run.as_dict()["kind"] for run in read(store)] == ["fake", "limit", ""]


def test_groups_are_followed_by_their_values(store: Store) -> None:
    write_night(store, 0, metrics_of())
    for number, sources in enumerate((("wiki", "news"), ("news", None, "wiki")), start=1):
        write_night(store, number, metrics_of(groups=grouped(*sources)))
    none, first, last = read(store)
    assert (none.groups, none.group_share("source=news")) == ({}, None)
    assert last.groups["source=news"] == {
        **{"rows": 10, "rejects": 2, "flagged_share": 3 / 9, "score_per_token": -0.5}
    }
    assert list_groups([none, first, last, none], 2) == ["source=news", "source=null"]
    assert (first.group_share("source=wiki"), first.group_share("source=null")) == (3 / 9, None)


def test_a_change_of_the_rules_that_drop_questions_is_told(store: Store) -> None:
    for number, keep in enumerate((None, {"finished": True})):
        write_night(store, number, metrics_of(), config={"aggregate": {"keep": keep}})
    told = ("aggregate: aggregate.keep was null and is {finished: true}",)
    assert [run.changes for run in read(store)] == [(), told]


def test_of_the_newest_runs_the_first_one_has_its_changes_too(store: Store) -> None:
    ids = write_nights(store)
    whole = read(store)
    assert [run.state.run_id for run in whole] == ids
    for most in (1, 4, 15, 99):
        assert read(store, most) == whole[-most:]
