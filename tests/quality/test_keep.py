"""Which questions `aggregate.keep` drops."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.settings import KeepSettings
from tasks.quality.flags import FLAGS, ORIGINALS, find_flags
from tasks.quality.judge import QUALITY
from tasks.quality.keep import KEPT, Choice, choose, list_drops
from tasks.quality.quality_file import judge_file
from tasks.store.tables import PREDICTIONS, commit_table, read_batches
from tests.support.finished_runs import prediction

UNK = 5
LONG = "中华人民共和国第一任总理在他任职期间做了哪些重要的事情"
NEAR = (LONG.replace("要的", "要"), LONG.replace("总理", "大总理"))  # to it, not to each other
QUESTIONS = [
    LONG,
    NEAR[0],
    f"{LONG}？",
    "他在任期间做了哪些重要事情",
    "泰山在哪里？",
    "泰山",
    "",
    "山东省在哪？",
]


def write(folder: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write all questions and their quality."""
    predictions, quality = folder / "predictions.parquet", folder / "quality.parquet"
    records = [prediction(2 * at, **row) for at, row in enumerate(rows)]
    batches = [pa.RecordBatch.from_pylist([record], PREDICTIONS) for record in records]
    commit_table(predictions, PREDICTIONS, batches)
    commit_table(quality, QUALITY, judge_file(predictions, UNK))
    return predictions, quality


def keep(folder: Path, rows: Sequence[Mapping[str, Any]], **asked: bool) -> tuple[Choice, Path]:
    predictions, quality = write(folder, rows)
    return choose(predictions, quality, list_drops(KeepSettings(**asked))), predictions


def reasons(choice: Choice, predictions: Path) -> dict[int, str]:
    return {row["row"]: row["reason"] for row in choice.list_dropped(predictions)}


def test_nothing_is_dropped_unless_it_is_asked_for() -> None:
    assert list_drops(None) == list_drops(KeepSettings()) == ()
    assert list_drops(KeepSettings(asking=True, finished=True)) == ("unfinished", "not_asking")
    assert list_drops(KeepSettings(near_duplicate=False)) == ("duplicate", "near_duplicate")
    every = {key: key in ("finished", "asking") for key in KeepSettings.model_fields}
    assert list_drops(KeepSettings(**every)) == tuple(FLAGS)


def test_a_row_is_dropped_for_its_first_flag_and_told_with_its_question(tmp_path: Path) -> None:
    rows = [
        {"question": "泰山", "is_finished": False},
        {"question": "泰山在哪？"},
        {"question": ""},
    ]
    choice, predictions = keep(tmp_path, rows, finished=True, asking=True)
    assert list(choice.list_dropped(predictions)) == [
        {"row": 0, "id": "id-0", "line": None, "reason": "quality:unfinished"}
        | {"detail": "it did not end within decode.max_dec_len tokens: 泰山"},
        {"row": 4, "id": "id-4", "line": None, "reason": "quality:not_asking"}
        | {"detail": "it has no question mark and no question word: "},
    ]
    assert choice.count() == {"quality:unfinished": 1, "quality:not_asking": 1}


def test_the_first_duplicate_that_the_other_rules_leave_is_kept(tmp_path: Path) -> None:
    rows = [{"question": LONG, "is_finished": at > 0} for at in range(3)]
    both, predictions = keep(tmp_path, rows, finished=True, duplicate=False)
    assert reasons(both, predictions) == {0: "quality:unfinished", 4: "quality:duplicate"}
    (told,) = (row["detail"] for row in both.list_dropped(predictions) if row["row"] == 4)
    assert told == f"it equals that of row 2: {LONG}"
    alone, predictions = keep(tmp_path, rows, duplicate=False)
    assert reasons(alone, predictions) == {2: "quality:duplicate", 4: "quality:duplicate"}


def test_what_was_near_only_to_a_dropped_question_is_kept(tmp_path: Path) -> None:
    rows = [{"question": LONG, "is_finished": False}, *({"question": one} for one in NEAR)]
    near, predictions = keep(tmp_path, rows, near_duplicate=False)
    assert reasons(near, predictions) == dict.fromkeys((2, 4), "quality:near_duplicate")
    both, predictions = keep(tmp_path, rows, near_duplicate=False, finished=True)
    assert reasons(both, predictions) == {0: "quality:unfinished"}


def test_what_equals_a_near_duplicate_is_one_too_so_that_its_original_is_kept(
    tmp_path: Path,
) -> None:
    rows = [{"question": one} for one in (LONG, NEAR[0], NEAR[0])]
    choice, predictions = keep(tmp_path, rows, near_duplicate=False)
    assert reasons(choice, predictions) == dict.fromkeys((2, 4), "quality:near_duplicate")


def test_the_rules_may_leave_no_question_of_a_part_or_of_all(tmp_path: Path) -> None:
    rows = [{"question": LONG, "is_finished": False}] * 9
    for number, finished in enumerate(([], [8], [0])):
        some = [{**row, "is_finished": at in finished} for at, row in enumerate(rows)]
        folder = tmp_path / str(number)
        choice, _ = keep(folder, some, finished=True, near_duplicate=False)
        assert np.flatnonzero(choice.causes == KEPT).tolist() == finished


ROWS = st.lists(
    st.fixed_dictionaries({"question": st.sampled_from(QUESTIONS), "is_finished": st.booleans()}),
    max_size=9,
)
ASKED = st.sets(st.sampled_from(sorted(KeepSettings.model_fields)))


@settings(max_examples=20, deadline=None)
@given(ROWS, ASKED)
def test_what_is_kept_is_judged_as_if_there_had_been_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], asked: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    rules = KeepSettings(**{key: key in ("finished", "asking") for key in asked})
    predictions, quality = write(folder, rows)
    choice = choose(predictions, quality, list_drops(rules))
    left, judged = folder / "left.parquet", folder / "judged.parquet"
    commit_table(left, PREDICTIONS, choice.keep(read_batches(predictions)))
    commit_table(judged, QUALITY, choice.keep_quality(read_batches(quality)))
    kept, dropped = pq.read_table(left)["row"].to_pylist(), reasons(choice, predictions)
    assert sorted([*kept, *dropped]) == [2 * at for at in range(len(rows))]
    assert sum(choice.count().values()) == len(dropped) == (choice.causes != KEPT).sum()
    found = pq.read_table(judged)
    assert found.equals(pa.Table.from_batches(judge_file(left, UNK), QUALITY))
    for batch in found.to_batches():
        flags = find_flags(batch)
        assert not any(flags[name].true_count for name in list_drops(rules))
    details = "\n".join(row["detail"] for row in choice.list_dropped(predictions))
    assert {*map(int, re.findall(r"equals that of row (\d+)", details))} <= {*kept}
    assert {*dropped.values()} <= {f"quality:{name}" for name in list_drops(rules)}
    assert set(found["duplicate_of"].drop_null().to_pylist()) <= {*kept}
    assert set(ORIGINALS.values()) <= {*found.column_names}
