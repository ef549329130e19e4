"""Processes answer blocks in order, whatever their number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import active_children

import pytest

from tasks.errors import InputError, WorkerError
from tasks.parallel import helpers, rows
from tasks.parallel.helpers import Helpers
from tasks.parallel.rows import ALONE, RowHelpers


def make_squarer() -> Callable[[int], int]:
    def square(number: int) -> int:
        if number == 13:
            raise InputError("13 is no number")
        if number == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return square


def tell_process(number: int) -> Iterator[tuple[int, int]]:
    yield from ((number, os.getpid()) for _ in range(2))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_are_in_the_order_of_the_blocks_and_faults_are_told(count: int) -> None:
    with Helpers("helper", count, make_squarer) as processes:
        assert list(processes.map(range(10))) == [number**2 for number in range(10)]
        assert list(processes.map([])) == []
        assert list(processes.map([3])) == [9]  # by a process that has waited
        assert len(active_children()) <= count
        with pytest.raises(InputError, match="13 is no number"):
            list(processes.map([1, 13, 2]))
    assert not active_children()


def test_what_the_blocks_raise_comes_after_the_answers_before_it() -> None:
    def read() -> Iterator[int]:
        yield from range(5)
        raise InputError("damaged")

    found = list[int]()
    with (
        Helpers("helper", 3, make_squarer) as processes,
        pytest.raises(InputError, match="damaged"),
    ):
        found.extend(processes.map(read()))
    assert found == [0, 1, 4, 9, 16]


def test_a_process_that_is_killed_is_told_with_a_remedy() -> None:
    with (
        Helpers("helper", 2, make_squarer) as processes,
        pytest.raises(WorkerError, match=r"the helper died .* memory runs short.*; run again"),
    ):
        list(processes.map([1, 17, 2, 3]))
    assert not active_children()


def test_helpers_with_rows_start_for_many_rows_on_several_cores_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "count_cores", lambda: 4)
    assert [RowHelpers(count).count for count in (0, 199_999, 200_000, 799_999)] == [0, 0, 1, 3]
    assert RowHelpers(10**9).count == 4
    monkeypatch.setattr(rows, "count_cores", lambda: 100)
    assert RowHelpers(10**9).count == rows.MOST_HELPERS
    monkeypatch.setattr(rows, "count_cores", lambda: 1)
    assert RowHelpers(10**9).count == 0


def test_functions_of_blocks_are_computed_elsewhere_if_there_are_helpers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert list(ALONE.compute(tell_process, [5])) == [(5, os.getpid())] * 2
    monkeypatch.setattr(rows, "count_cores", lambda: 2)
    with RowHelpers(400_000) as both:
        found = list(both.compute(tell_process, range(6)))
    assert [number for number, _ in found] == [at // 2 for at in range(12)]
    processes = {process for _, process in found}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_without_helpers_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "Child", None)
    answers = ALONE.compute(tell_process, iter([1, 2]))
    assert next(answers)[0] == 1
