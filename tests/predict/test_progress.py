from __future__ import annotations

import logging
import threading

import pytest

from tasks.predict.progress import Pace, Progress, current_display, shown_on


def test_a_pace_says_how_many_seconds_are_left_at_its_speed() -> None:
    assert str(Pace(2000, 500, 4, 100.0)) == (
        "500 of 2,000 rows, about 300 s left, 5.0 rows per second"
    )
    assert Pace(2000, 500, 4, 100.0).percent == 25


@pytest.mark.parametrize(
    ("pace", "text"),
    [
        (Pace(), "0 of 0 rows, 0.0 rows per second"),
        (Pace(8, 0, 0, 0.0), "0 of 8 rows, 0.0 rows per second"),
        (Pace(8, 8, 2, 4.0), "8 of 8 rows, 2.0 rows per second"),
    ],
    ids=["nothing to do", "nothing done", "all done"],
)
def test_no_time_left_is_told_before_the_first_row_and_after_the_last(
    pace: Pace, text: str
) -> None:
    assert str(pace) == text


def test_rows_of_several_threads_are_all_counted_and_every_display_sees_each_batch() -> None:
    first: list[Pace] = []
    second: list[Pace] = []
    progress = Progress(first.append, second.append)
    progress.start(4000)

    def work() -> None:
        for _batch in range(250):
            progress.advance(4)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first == second
    assert [(pace.batches, pace.done) for pace in first] == [(n, 4 * n) for n in range(1001)]
    assert {pace.rows for pace in first} == {4000}


def test_rows_of_a_shard_that_is_tried_again_are_taken_back() -> None:
    paces: list[Pace] = []
    progress = Progress(paces.append)
    progress.start(10)
    for rows in (6, -6, 4):
        progress.advance(rows)
    assert [pace.done for pace in paces] == [0, 6, 0, 4]


def test_without_a_display_every_nth_batch_is_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wenti")
    progress = Progress(current_display(2))
    progress.start(5)
    for _batch in range(5):
        progress.advance(1)
    ends = [message.rpartition("; ")[2] for message in caplog.messages]
    assert ends == ["2 batches", "4 batches"]
    assert caplog.messages[0].startswith("predict: 2 of 5 rows, about ")


def test_a_display_takes_the_place_of_the_log_lines_within_its_block() -> None:
    paces: list[Pace] = []
    with shown_on(paces.append):
        Progress(current_display(1)).start(3)
    Progress(current_display(1)).start(4)
    assert [pace.rows for pace in paces] == [3]
