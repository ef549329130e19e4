from __future__ import annotations

from pathlib import Path

import pytest

from tasks.aggregate.outputs import write_predictions
from tasks.aggregate.partial import Missing
from tasks.aggregate.rejects import check_all_rejects
from tasks.errors import InputError, ShardsFailedError
from tasks.plan.plan import Plan
from tasks.plan.stage_result import TimeSpan
from tasks.predict.jobs import Prediction
from tasks.store.manifest import Manifest
from tests.support.small_shards import EOS, plan_small_shards, predict, write_dataset


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_small_shards(tmp_path)


@pytest.fixture
def dataset(plan: Plan) -> Manifest:
    return write_dataset(plan)


def check(plan: Plan, dataset: Manifest, prediction: Prediction, limit: float | None) -> None:
    folder = plan.store.root / "runs/one"
    write_predictions(plan, dataset, prediction, Missing(tuple(prediction.missing)), folder, EOS)
    check_all_rejects(limit, dataset, prediction, folder / "rejects.parquet")


def test_rows_that_the_engine_rejects_count_too(plan: Plan, dataset: Manifest) -> None:
    prediction = predict(plan, dataset)  # 2 rows rejected by load and 1 by the engine, of 20
    for limit in (None, 3, 0.15, 0.9):
        check(plan, dataset, prediction, limit)
    for limit in (2, 0.14, 0):
        with pytest.raises(InputError) as caught:
            check(plan, dataset, prediction, limit)
        text = str(caught.value)
        assert "3 of 20 rows (15.0 %) were rejected: not_json 2, engine_crash 1" in text
        assert "such as row 3, line 4: not_json: no object" in text
        assert f"`dataset.max_rejected` is {limit:g}" in text
        assert caught.value.exit_code == 2


def test_a_dataset_that_was_checked_before_is_not_told_again(
    plan: Plan, dataset: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    healthy = [one for one in predict(plan, dataset).outcomes if one.job.shard.index != 1]
    check_all_rejects(0, dataset, Prediction(healthy, TimeSpan(0, 1)), plan.store.root / "none")
    assert caplog.text == ""


def test_rows_of_missing_shards_above_the_limit_are_made_by_another_run(
    plan: Plan, dataset: Manifest
) -> None:
    prediction = predict(plan, dataset, failed=(3,))  # 3 rows beside the 3 that are rejected
    check(plan, dataset, prediction, 6)
    with pytest.raises(ShardsFailedError) as caught:
        check(plan, dataset, prediction, 5)
    text = str(caught.value)
    assert "6 of 20 rows (30.0 %) have no question, `dataset.max_rejected` is 5" in text
    assert "1 of 4 shards failed" in text
    assert "makes what is missing" in text
