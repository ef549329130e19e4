from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from tasks.errors import ObjectStoreError
from tasks.store.objects.spool import Spool

RUN, OTHER = PurePosixPath("runs/a"), PurePosixPath("runs/b")


class Stored:
    """What a spool has stored, and whether that is possible at the moment."""

    def __init__(self) -> None:
        self.files: dict[object, bytes] = {RUN / "old": b"0\n"}
        self.is_away = False
        self.spool = Spool(self.read, self.put)

    def read(self, place: object) -> bytes:
        if place not in self.files:
            raise FileNotFoundError
        return self.files[place]

    def put(self, place: object, content: bytes) -> None:
        if self.is_away:
            raise ObjectStoreError("away")
        self.files[place] = content


def test_what_was_appended_is_stored_after_what_was_there() -> None:
    stored = Stored()
    stored.spool.append(RUN / "old", b"1\n")
    stored.spool.append(RUN / "new", b"2\n")
    stored.spool.append(OTHER / "new", b"3\n")
    assert len(stored.files) == 1
    stored.spool.flush(RUN)
    assert stored.files == {RUN / "old": b"0\n1\n", RUN / "new": b"2\n"}
    stored.spool.append(RUN / "new", b"4\n")
    stored.spool.flush()
    assert stored.files[RUN / "new"] == b"2\n4\n"
    assert stored.files[OTHER / "new"] == b"3\n"


def test_what_cannot_be_stored_is_kept_for_the_next_attempt() -> None:
    stored = Stored()
    stored.is_away = True
    for name in ("one", "two"):
        stored.spool.append(RUN / name, b"1\n")
    with pytest.raises(ObjectStoreError):
        stored.spool.flush()
    stored.is_away = False
    stored.spool.flush()
    assert stored.files == {RUN / "old": b"0\n", RUN / "one": b"1\n", RUN / "two": b"1\n"}


def test_what_was_deleted_does_not_come_back() -> None:
    stored = Stored()
    stored.spool.append(RUN / "new", b"1\n")
    stored.spool.forget(RUN)
    stored.spool.flush()
    assert stored.files == {RUN / "old": b"0\n"}
