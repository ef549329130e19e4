"""Waves: the shards that one task run of Prefect makes.

Prefect starts some 50 to 100 task runs a second and stores 26 KB for each, so a run has a limited
number of them (`tasks.predict.task.limit_task_runs`): up to that, a wave is one shard; above,
several.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import pairwise

from tasks.errors import StoppedError, describe_error
from tasks.escaping import shorten
from tasks.predict.jobs import ShardJob, ShardOutcome
from tasks.retry import is_retryable
from tasks.store.claims import Made

logger = logging.getLogger("wenti.predict")

LONGEST_NAME = 60  # characters

Generate = Callable[[ShardJob], Made | None]
"""Makes a shard; None if it is left to another run."""


class Wave:
    """Some shards of a run, and what has become of each of them so far."""

    def __init__(self, jobs: Sequence[ShardJob]) -> None:
        self.jobs = tuple(jobs)
        self._answers: dict[int, Made | Exception | None] = {}

    def __str__(self) -> str:
        """Return which shards these are, such as `shard 3 of 12` or `shards 0-4 of 1000`."""
        numbers = [job.shard.index for job in self.jobs]
        some = "shard" if len(numbers) == 1 else "shards"
        named = shorten(in_ranges(numbers), LONGEST_NAME)
        return f"{some} {named} of {self.jobs[0].shard.count}"

    @property
    def is_reused(self) -> bool:
        """Whether other runs have made all the shards in the meantime."""
        answers = [self._answers.get(job.shard.index) for job in self.jobs]
        return all(isinstance(one, Made) and one.is_reused for one in answers)

    def make(self, generate: Generate) -> None:
        """Make the shards one after the other; the next call tries again what may succeed then.

        Raises:
            StoppedError: the run was stopped.
            Exception: the error of a shard; one that may pass comes before any other.
        """
        for job in self.jobs:
            if self._is_open(job):
                self._answers[job.shard.index] = self._attempt(job, generate)
        errors = [one for one in self._answers.values() if isinstance(one, Exception)]
        if errors:
            raise next(filter(is_retryable, errors), errors[0])

    def outcomes(self, end: BaseException | None) -> list[ShardOutcome | None]:
        """Return the outcome of each shard; None for those that are left to another run.

        `end` is what has ended the task run, for shards that it did not come to.
        """
        answers = (self._answers.get(job.shard.index, end) for job in self.jobs)
        return [_name_outcome(*both) for both in zip(self.jobs, answers, strict=True)]

    def _is_open(self, job: ShardJob) -> bool:
        """Return whether a shard was not tried yet, or failed by an error that may pass."""
        answer = self._answers.get(job.shard.index)
        is_tried = job.shard.index in self._answers
        return not is_tried or (isinstance(answer, Exception) and is_retryable(answer))

    def _attempt(self, job: ShardJob, generate: Generate) -> Made | Exception | None:
        try:
            return generate(job)
        except StoppedError:  # nor can the others be made
            raise
        except Exception as error:
            if len(self.jobs) > 1:  # the state of the task run has one of the errors only
                shard, told = job.shard, describe_error(error)
                logger.warning("shard %d of %d failed: %s", shard.index, shard.count, told)
            return error


def plan_waves(jobs: Sequence[ShardJob], most: int) -> list[Wave]:
    """Divide shards into at most `most` waves, whose sizes differ by one shard at most."""
    count = min(len(jobs), most)
    cuts = [number * len(jobs) // count for number in range(count + 1)] if count else []
    return [Wave(jobs[start:stop]) for start, stop in pairwise(cuts)]


def in_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as `wenti rerun --shards` takes them, such as `3,7-9`."""
    known = set(numbers)
    starts = [one for one in numbers if one - 1 not in known]
    ends = [one for one in numbers if one + 1 not in known]
    pairs = zip(starts, ends, strict=True)
    return ",".join(f"{start}" if start == end else f"{start}-{end}" for start, end in pairs)


def _name_outcome(job: ShardJob, answer: Made | BaseException | None) -> ShardOutcome | None:
    if answer is None:
        return None
    if isinstance(answer, Made):
        return ShardOutcome(job, answer.manifest, answer.is_reused)
    return ShardOutcome(job, None, error=describe_error(answer))
