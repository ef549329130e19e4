from __future__ import annotations

import errno

import pytest

from tasks import errors
from tasks.errors import WentiError
from tasks.retry import is_retryable

TRANSIENT = {
    "WorkerError",
    "BatchTimeoutError",
    "OutOfMemoryError",
    "BadOutputError",
    "PlaceLostError",
    "DiskError",
    "ObjectStoreError",
    "DownloadError",
    "StoreCorruptionError",
}
ALL = [
    one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, WentiError)
]


@pytest.mark.parametrize("kind", ALL)
def test_a_dead_worker_and_a_failing_disk_are_tried_again_and_nothing_that_must_change_first(
    kind: type[WentiError],
) -> None:
    error = kind.__new__(kind)  # without calling the constructor
    assert is_retryable(error) == (kind.__name__ in TRANSIENT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EIO, "I/O error"), True),
        (IsADirectoryError("shard"), True),
        (ValueError("a fault of ours"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_an_error_of_the_system_may_pass_and_one_of_the_code_does_not(
    error: BaseException, expected: bool
) -> None:
    assert is_retryable(error) == expected
