"""Which limits of a config the numbers of a run break."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.aggregate.gate.limits import Breach, Level, Mean, Share, find_breaches
from tasks.config.settings import QualitySettings
from tasks.quality.flags import FLAGS

FLAGGED = {**dict.fromkeys(FLAGS, 0), "unfinished": 6, "duplicate": 3}
QUALITY = {"rows": 60, "flags": FLAGGED, "means": {"score_per_token": -0.5}, "score_deviation": 0.2}
METRICS = {"quality": QUALITY, "rows_in": 80, "rejects": 20, "rows_missing": 5}


def broken(**limits: float) -> list[Breach]:
    level = Level.of(METRICS)
    assert level is not None
    return list(find_breaches(QualitySettings(**limits), level))  # type: ignore[arg-type]


def test_rows_of_missing_shards_are_no_rejects() -> None:
    level = Level.of(METRICS)
    assert level is not None
    assert level.shares["rejects"] == Share(15, 75)
    assert level.shares["unfinished"].value == 0.1
    assert level.score == Mean(-0.5, 0.2, 60)


def test_dropped_questions_are_judged_and_are_no_rejects() -> None:
    level = Level.of(METRICS | {"rejects": 29, "rows_dropped": 9})
    assert level == Level.of(METRICS)


def test_without_scores_or_flags_there_is_nothing_to_compare() -> None:
    unscored = {**QUALITY, "means": {"score_per_token": None}}
    level = Level.of(METRICS | {"quality": unscored})
    assert level is not None
    assert level.score is None
    assert list(find_breaches(QualitySettings(min_mean_score=0), level)) == []
    older = {key: value for key, value in QUALITY.items() if key != "score_deviation"}
    level = Level.of(METRICS | {"quality": older})
    assert level is not None
    assert level.score is None
    assert Level.of({key: value for key, value in METRICS.items() if key != "quality"}) is None


@pytest.mark.parametrize(
    ("key", "allowed", "broken_by"),
    [
        ("max_unfinished", 0.1, 0.099),
        ("max_unfinished", 6, 5),
        ("max_duplicates", 0.05, 0.049),
        ("max_duplicates", 3, 0),
        ("max_rejects", 0.2, 0.19),
        ("max_rejects", 15, 14),
        ("min_mean_score", -0.5, -0.499),
    ],
)
def test_a_limit_is_broken_beyond_it_and_not_at_it(
    key: str, allowed: float, broken_by: float
) -> None:
    assert broken(**{key: allowed}) == []
    (breach,) = broken(**{key: broken_by})
    assert (breach.key, breach.limit) == (key, broken_by)


def test_all_broken_limits_are_told_with_the_numbers_that_break_them() -> None:
    found = broken(max_unfinished=0.05, max_duplicates=9, max_rejects=0, min_mean_score=-0.1)
    assert [str(breach) for breach in found] == [
        "unfinished 6 of 60 (10.0 %); quality.max_unfinished is 0.05",
        "rejects 15 of 75 (20.0 %); quality.max_rejects is 0",
        "the mean score per token -0.5000; quality.min_mean_score is -0.1",
    ]


def test_a_run_without_rows_breaks_nothing() -> None:
    quality = {**QUALITY, "rows": 0, "flags": dict.fromkeys(FLAGS, 0), "means": {}}
    quality["means"] = {"score_per_token": None}
    level = Level.of({"quality": quality, "rows_in": 5, "rejects": 5, "rows_missing": 0})
    assert level is not None
    assert list(find_breaches(QualitySettings(max_unfinished=0, max_duplicates=0), level)) == []


@pytest.mark.parametrize(
    "values",
    [{"max_unfinished": 1.5}, {"max_drift": -0.1}, {"max_drift": 5}, {"min_mean_score": 0.5}],
)
def test_a_limit_is_a_share_or_a_number_of_rows(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        QualitySettings.model_validate(values)
