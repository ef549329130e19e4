"""Rows, rejects, flags and scores of groups of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.aggregate import groups as module
from tasks.aggregate.groups import describe_groups, find_groups
from tasks.columns.divide import check_groups
from tasks.columns.store import COLUMNS_FILE, ColumnsDetails
from tasks.errors import InputError
from tasks.evaluation.scores import score_pairs
from tasks.plan.plan import Plan
from tasks.quality.flags import FLAGS
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table
from tests.support.finished_runs import judge_run, prediction

Row = Mapping[str, Any]
SOURCES = ["wiki", "新闻", "", None]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(SOURCES),
            "chapter": st.integers(0, 2),
            "is_finished": st.booleans(),
            "reference": st.sampled_from([None, "泰山在哪里？", "泰山1在哪里"]),
            "reason": st.sampled_from([None, None, None, "not_json", "quality:duplicate"]),
        }
    ),
    max_size=25,
)


def write(folder: Path, rows: Sequence[Row], by: Sequence[str]) -> Plan:
    """Write the results of a run with these rows and their columns; return its plan."""
    columns = pa.schema([("source", pa.string()), ("chapter", pa.int64())])
    kept = [{name: row[name] for name in columns.names} for row in rows]
    halves = [pa.RecordBatch.from_pylist(some, columns) for some in (kept[:9], kept[9:])]
    commit_table(folder / COLUMNS_FILE, columns, halves)
    made = [
        prediction(at, is_finished=row["is_finished"], reference=row["reference"])
        for at, row in enumerate(rows)
        if row["reason"] is None
    ]
    commit_table(
        folder / "predictions.parquet",
        PREDICTIONS,
        [pa.RecordBatch.from_pylist(made, PREDICTIONS)],
    )
    rejects = [
        {"row": at, "reason": row["reason"], "detail": ""}
        for at, row in enumerate(rows)
        if row["reason"] is not None
    ]
    commit_table(
        folder / "rejects.parquet", REJECTS, [pa.RecordBatch.from_pylist(rejects, REJECTS)]
    )
    judge_run(folder)
    asked = SimpleNamespace(aggregate=SimpleNamespace(group_by=tuple(by)))
    return cast("Plan", SimpleNamespace(settings=asked, columns=SimpleNamespace(folder=folder)))


def describe(folder: Path, rows: Sequence[Row], *by: str) -> dict[str, Any]:
    found = describe_groups(write(folder, rows, by), folder)
    assert found is not None
    return found


def count(rows: Sequence[Row], at: Sequence[int]) -> dict[str, Any]:
    """Return what is expected of the rows at some places, counted one by one."""
    some = [rows[one] for one in at]
    made = [(one, row) for one, row in zip(at, some, strict=True) if row["reason"] is None]
    pairs = [(f"泰山{one}在哪里？", row["reference"]) for one, row in made if row["reference"]]
    scores = score_pairs(pairs) if pairs else {}
    return {
        "rows": len(at),
        "predictions": len(made),
        "rejects": len(at) - len(made),
        "rows_dropped": sum(row["reason"] == "quality:duplicate" for row in some),
        "unfinished": sum(not row["is_finished"] for _, row in made),
        "references": len(pairs),
        **{name: scores.get(name) for name in ("bleu_4", "rouge_l", "exact_match")},
    }


def shown(group: Row) -> dict[str, Any]:
    """Return what the metrics say of a group, in the form of `count`."""
    metrics = {name: group[name] for name in ("bleu_4", "rouge_l", "exact_match")}
    for one in metrics.values():
        if one is not None and one["low"] is not None:
            assert one["low"] <= one["high"]
    names = ("rows", "predictions", "rejects", "rows_dropped", "references")
    return {
        **{name: group[name] for name in names},
        "unfinished": group["flags"]["unfinished"],
        **{name: one and one["value"] for name, one in metrics.items()},
    }


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, most=st.integers(1, 5))
def test_groups_are_those_of_counting_by_hand_and_the_smaller_ones_are_told_together(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_GROUPS", most)
        patch.setattr(module, "MOST_BUNDLES", 2)
        patch.setattr(module, "FEWEST_ROWS", 3)
        found = describe(tmp_path_factory.mktemp("run"), rows, "source", "chapter")
    keys = [(row["source"], row["chapter"]) for row in rows]
    largest = [list(key) for key, _ in Counter(keys).most_common(most)]
    assert [group["values"] for group in found["shown"]] == largest
    assert (found["columns"], found["count"]) == (["source", "chapter"], len({*keys}))
    for group in found["shown"]:
        at = [one for one, key in enumerate(keys) if list(key) == group["values"]]
        assert shown(group) == pytest.approx(count(rows, at))
    at = [one for one, key in enumerate(keys) if list(key) not in largest]
    others = found["others"]
    assert (others is None) == (not at)
    if others is not None:
        assert others["groups"] == len({keys[one] for one in at})
        assert shown(others) == pytest.approx(count(rows, at))


def test_a_group_has_the_mean_score_and_every_flag(tmp_path: Path) -> None:
    row = {"source": "a", "chapter": 1, "reference": None, "reason": None, "is_finished": True}
    (group,) = describe(tmp_path, [row] * 3, "source")["shown"]
    assert group["score_per_token"] == pytest.approx(-0.005)  # 0, −0.01 and −0.02 for two tokens
    assert group["flags"] == dict.fromkeys(FLAGS, 0)
    assert (group["flagged_rows"], group["bleu_4"]) == (0, None)


def test_an_interval_needs_some_rows_and_bundles_leave_it_as_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def width(bundles: int) -> float:
        monkeypatch.setattr(module, "MOST_BUNDLES", bundles)
        (group,) = describe(tmp_path, rows, "source")["shown"]
        exact = group["exact_match"]
        assert exact["value"] == pytest.approx(100 * 5 / 11, abs=1e-4)
        return float(exact["high"] - exact["low"])

    rows = [
        {"source": "a", "chapter": 1, "reason": None, "is_finished": True}
        | {"reference": f"泰山{at}在哪里？" if at * 7 % 11 % 2 else "哪里？"}
        for at in range(1100)
    ]
    by_rows = width(10_000)
    deviation = 100 * (5 / 11 * 6 / 11) ** 0.5  # of a row
    assert by_rows == pytest.approx(2 * 1.96 * deviation / len(rows) ** 0.5, rel=0.1)
    assert width(200) == pytest.approx(by_rows, rel=0.2)
    few = describe(tmp_path, rows[: module.FEWEST_ROWS - 1], "source")["shown"][0]["exact_match"]
    assert (few["low"], few["high"]) == (None, None)


def test_values_of_all_kinds_of_columns_are_those_of_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": [date(2026, 1, 1), None, date(2026, 1, 1)],
            "good": [True, False, True],
            "part": pa.array([1, 2, 1], pa.uint8()),
        }
    )
    pq.write_table(table, tmp_path / COLUMNS_FILE, row_group_size=1, write_page_checksum=True)
    found = find_groups(tmp_path / COLUMNS_FILE, ("part", "good", "day"))
    assert found.values == [[1, True, "2026-01-01"], [2, False, None]]
    assert found.place.tolist() == [0, 1, 0]


def test_columns_that_make_no_groups_are_told_before_anything_is_predicted(tmp_path: Path) -> None:
    table = pa.table({"source": ["a"], "tags": [["b"]]})
    pq.write_table(table, tmp_path / COLUMNS_FILE, write_page_checksum=True)
    details = ColumnsDetails(rows=1, names=["source", "tags"], missing=[])
    check_groups(["source"], tmp_path, details)
    with pytest.raises(InputError, match=r"`aggregate.group_by`: .*`tags` has lists or objects"):
        check_groups(["source", "tags"], tmp_path, details)
    with pytest.raises(InputError, match=r"`aggregate.group_by`: no such column .*: chapter;"):
        check_groups(["chapter"], tmp_path, details)
