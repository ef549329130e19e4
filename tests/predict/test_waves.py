from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DiskError, InputError, StoppedError, WentiError
from tasks.operations.rerun import parse_shards
from tasks.predict.jobs import ShardJob
from tasks.predict.shards import plan_shards
from tasks.predict.waves import Wave, in_ranges, plan_waves
from tasks.store.claims import Made
from tasks.store.manifest import Found, Manifest
from tests.support.batch_runners import Dataset

MANIFEST = Manifest(kind="shard", fingerprint="f", decided_by={}, files=())
MADE, REUSED = Made(MANIFEST, Found(None)), Made(MANIFEST, Found(MANIFEST))


def make_jobs(count: int) -> list[ShardJob]:
    dataset = Dataset(Path("nowhere"), MANIFEST)
    return [dataset.job(Path("nowhere"), shard) for shard in plan_shards(count, 1)]


@given(shards=st.integers(0, 500), most=st.integers(1, 250))
def test_waves_have_every_shard_once_in_order_and_about_the_same_size(
    shards: int, most: int
) -> None:
    jobs = make_jobs(shards)
    waves = plan_waves(jobs, most)
    assert [job for wave in waves for job in wave.jobs] == jobs
    assert len(waves) == min(shards, most)
    sizes = {len(wave.jobs) for wave in waves}
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_rerun_understands_how_a_wave_names_its_shards(numbers: set[int]) -> None:
    assert parse_shards(in_ranges(sorted(numbers))) == sorted(numbers)


def test_a_name_says_which_shards_of_how_many_and_stays_short() -> None:
    jobs = make_jobs(1000)
    assert str(Wave(jobs[3:4])) == "shard 3 of 1000"
    assert str(Wave([*jobs[3:8], jobs[11]])) == "shards 3-7,11 of 1000"
    assert len(str(Wave(jobs[::2]))) < 100


def test_another_attempt_makes_only_what_failed_and_may_succeed() -> None:
    jobs, attempts = make_jobs(5), Counter[int]()

    def generate(job: ShardJob) -> Made | None:
        shard = job.shard.index
        attempts[shard] += 1
        if shard == 1 and attempts[shard] < 2:
            raise DiskError("it may pass")
        if shard == 2:
            raise InputError("somebody must correct it")
        return None if shard == 3 else MADE

    wave = Wave(jobs)
    kinds: tuple[type[WentiError], ...] = (DiskError, InputError, InputError)
    for kind in kinds:
        with pytest.raises(kind):
            wave.make(generate)
    assert attempts == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1}
    states = [None if one is None else one.state for one in wave.outcomes(None)]
    assert states == ["made", "made", "failed", None, "made"]


def test_a_stop_ends_the_wave_at_once_and_its_other_shards_have_failed() -> None:
    attempts = Counter[int]()

    def generate(job: ShardJob) -> Made | None:
        attempts[job.shard.index] += 1
        raise StoppedError("the run was stopped")

    wave = Wave(make_jobs(3))
    with pytest.raises(StoppedError) as stop:
        wave.make(generate)
    assert attempts == {0: 1}
    assert {one.error for one in wave.outcomes(stop.value) if one is not None} == {
        "StoppedError: the run was stopped"
    }


def test_a_wave_that_other_runs_have_made_is_reused() -> None:
    wave, mixed = Wave(make_jobs(2)), Wave(make_jobs(2))
    wave.make(lambda _job: REUSED)
    mixed.make(lambda job: REUSED if job.shard.index else MADE)
    assert wave.is_reused
    assert not mixed.is_reused
