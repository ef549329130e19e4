"""Which place gets which job: an exhaustive model of places that work, fail and are slow."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cluster.schedule import SLOW_FACTOR, SLOW_SECONDS, Schedule

PLACES = ["a", "b", "c"]


@given(
    jobs=st.integers(0, 12),
    steps=st.lists(
        st.tuples(
            st.sampled_from(PLACES),
            st.sampled_from(["work", "finish", "fail"]),
            st.floats(0, 100),
        )
    ),
    speculate=st.booleans(),
)
def test_every_job_has_one_outcome_whatever_places_do(
    jobs: int, steps: list[tuple[str, str, float]], speculate: bool
) -> None:
    schedule, now = Schedule(speculate), 0.0
    for number in range(jobs):
        schedule.add(number)
    outcomes, attempts, seen = Counter[int](), Counter[int](), set()
    ends = [(place, "finish", 0.0) for _ in range(jobs + 1) for place in PLACES]
    works = [(place, "work", 0.0) for place in PLACES]
    for place, step, seconds in (*steps, *ends, *(works + ends[:3]) * (jobs + 1)):
        now += seconds
        attempt = schedule.attempt_of(place)
        if step == "work" and attempt is None:
            given_job = schedule.assign(place, now)
            if given_job is not None:
                assert given_job.attempt not in seen
                seen.add(given_job.attempt)
                attempts[given_job.number] += 1
                assert outcomes[given_job.number] == 0
                running = [schedule.attempt_of(one) for one in PLACES]
                at_it = [one for one in running if one and one.number == given_job.number]
                assert len(at_it) <= (2 if speculate else 1)
        elif step == "finish" and attempt is not None:
            outcomes[attempt.number] += schedule.finish(place, now)
        elif step == "fail" and attempt is not None:
            outcomes[attempt.number] += schedule.fail(place)
    assert outcomes == Counter(range(jobs))
    assert schedule.is_idle


@pytest.fixture
def schedule() -> Schedule:
    """A schedule whose jobs take 10 s, but for one that `slow` is at since second 10."""
    schedule = Schedule(speculate=True)
    for number in (0, 1):
        schedule.add(number)
    schedule.assign("a", 0)
    schedule.finish("a", 10)
    schedule.assign("slow", 10)
    return schedule


def test_a_slow_job_is_tried_once_more_and_only_when_nothing_else_is_to_do(
    schedule: Schedule,
) -> None:
    assert schedule.assign("a", 10 + 10 * SLOW_FACTOR) is None
    late = 11 + 10 * SLOW_FACTOR
    schedule.add(2)
    assert [attempt.number for attempt in [schedule.assign("a", late)] if attempt] == [2]
    second = schedule.assign("b", late)
    assert second is not None
    assert (second.number, second.behind) == (1, late - 10)
    assert schedule.assign("c", 10 * late) is not None  # a's job, which is slow by now, too
    assert schedule.assign("d", 10 * late) is None


def test_the_first_answer_counts_and_a_failure_only_if_no_other_place_is_at_it(
    schedule: Schedule,
) -> None:
    schedule.assign("a", 1000)
    assert not schedule.fail("slow")
    assert schedule.finish("a", 1001)
    assert schedule.is_idle

    schedule.add(3)
    schedule.assign("slow", 1001)
    schedule.assign("a", 3000)
    assert schedule.finish("a", 3001)
    assert not schedule.finish("slow", 3002)


def test_jobs_that_take_no_time_are_not_tried_twice() -> None:
    schedule = Schedule(speculate=True)
    for number in (0, 1):
        schedule.add(number)
    schedule.assign("a", 0)
    schedule.finish("a", 0.01)
    schedule.assign("slow", 1)
    assert schedule.assign("a", 1 + SLOW_SECONDS) is None
    assert schedule.assign("a", 2 + SLOW_SECONDS) is not None
