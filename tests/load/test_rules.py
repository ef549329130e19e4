"""The rules on rejected and cut rows, for datasets that are made and that are reused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.config.settings import DatasetSettings
from tasks.errors import InputError
from tasks.load.dataset import LoadRequest, load_passages
from tasks.load.rules import check_dataset, describe_counts, is_above
from tasks.load.task import find_dataset
from tasks.store.manifest import Manifest, commit_manifest
from tests.support.load_requests import write_rows
from tests.support.planned_jobs import plan_job, write_job


@pytest.fixture
def request_with_rejects(load_request: LoadRequest) -> LoadRequest:
    """A request with 20 rows, of which 5 are rejected: the first as empty_field, 4 as not_json."""
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 15, bad_every=3)
    return load_request


def check(request: LoadRequest, dataset: Manifest, **rules: object) -> None:
    check_dataset(DatasetSettings(**rules), request.folder, dataset)  # type: ignore[arg-type]


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(0, 99))
def test_a_share_is_exceeded_only_by_more_rows_than_it_is_of(
    count: int, rows: int, percent: int
) -> None:
    assert is_above(percent / 100, count, rows) == (100 * count > percent * rows)


@pytest.mark.parametrize(
    ("limit", "count", "expected"),
    [(None, 9, False), (0, 0, False), (0, 1, True), (1, 1, False), (1, 2, True), (8.0, 9, True)],
)
def test_a_limit_of_one_or_more_is_a_number_of_rows(
    limit: float | None, count: int, expected: bool
) -> None:
    assert is_above(limit, count, 10) == expected


@pytest.mark.parametrize("key", ["max_rejected", "max_cut"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf"), "1"])
def test_a_limit_that_is_neither_a_share_nor_a_number_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        DatasetSettings(**{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 0.25, 5, 0.9])
def test_a_dataset_within_the_limit_is_accepted(
    request_with_rejects: LoadRequest, limit: float | None
) -> None:
    check(request_with_rejects, load_passages(request_with_rejects), max_rejected=limit)


@pytest.mark.parametrize("limit", [0, 0.24, 4])
def test_more_rejects_than_allowed_are_told_with_their_reasons_and_an_example(
    request_with_rejects: LoadRequest, limit: float
) -> None:
    dataset = load_passages(request_with_rejects)
    with pytest.raises(InputError) as caught:
        check(request_with_rejects, dataset, max_rejected=limit)
    text = str(caught.value)
    assert "5 of 20 rows (25.0 %) were rejected: not_json 4, empty_field 1" in text
    assert "such as row 4, line 5: not_json" in text
    assert f"`dataset.max_rejected` is {limit:g}: repair the passages, or raise it" in text
    assert str(request_with_rejects.folder / "rejects.parquet") in text


def test_on_bad_row_says_the_same_of_a_reused_dataset(request_with_rejects: LoadRequest) -> None:
    dataset = load_passages(request_with_rejects)
    with pytest.raises(InputError) as reused:
        check(request_with_rejects, dataset, on_bad_row="fail")
    with pytest.raises(InputError) as made:
        load_passages(replace(request_with_rejects, on_bad_row="fail"))
    assert str(reused.value) == str(made.value)
    assert str(made.value).startswith("row 0, line 1: empty_field")


def test_many_rejects_are_a_warning_without_a_limit(
    request_with_rejects: LoadRequest, caplog: pytest.LogCaptureFixture
) -> None:
    check(request_with_rejects, load_passages(request_with_rejects))
    assert "5 of 20 rows (25.0 %) were rejected: not_json 4, empty_field 1" in caplog.text


def test_few_rejects_are_no_warning(
    load_request: LoadRequest, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_request.predict_file is not None
    write_rows(load_request.predict_file, 95, bad_every=19)  # 5 of 100
    check(load_request, load_passages(load_request))
    assert caplog.text == ""


def write_long_rows(path: Path) -> None:
    """Write 2 rows that fit and 2 that do not: one loses its end, one its whole passage."""
    pairs = [("长江", "江")] * 2 + [("长江" * 300, "江"), ("江", "长江" * 300)]
    lines = [json.dumps({"context": context, "answer": answer}) for context, answer in pairs]
    path.write_text("\n".join(lines), encoding="utf-8")


def test_cut_rows_are_counted_limited_and_can_be_found(
    load_request: LoadRequest, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_request.predict_file is not None
    write_long_rows(load_request.predict_file)
    dataset = load_passages(load_request)
    assert dataset.details["cut"] == {"answer": 1, "passage_end": 1}
    for limit in (None, 0.5, 2):
        check(load_request, dataset, max_cut=limit)
    assert "2 of 4 rows (50.0 %) are longer than `dataset.max_seq_len` allows" in caplog.text
    with pytest.raises(InputError) as caught:
        check(load_request, dataset, max_cut=0.49)
    assert "were cut: answer 1, passage_end 1; `dataset.max_cut` is 0.49" in str(caught.value)


@pytest.mark.parametrize(("rule", "is_found"), [("null", True), ("0.5", False)])
def test_a_dataset_that_did_not_count_its_cut_rows_is_loaded_again_if_they_are_limited(
    tmp_path: Path, rule: str, is_found: bool
) -> None:
    plan = plan_job(
        write_job(tmp_path), f"store.path={tmp_path / 'store'}", f"dataset.max_cut={rule}"
    )
    details = {"rows_in": 1, "rows": 1, "rejects": 0, "tokens": 9, "longest": 9}
    old = Manifest(
        kind="dataset",
        fingerprint=plan.dataset.fingerprint,
        decided_by=plan.dataset.decided_by,
        files=(),
        details={**details, "part_rows": [1], "reject_reasons": {}},
    )
    commit_manifest(plan.dataset.manifest_path, old)
    found = find_dataset(plan)
    assert (found.manifest == old) == is_found
    assert is_found or "did not count the rows that it cut" in (found.damage or "")


def test_counts_are_told_largest_first() -> None:
    assert describe_counts({"b": 2, "a": 2, "c": 30}) == "c 30, a 2, b 2"
