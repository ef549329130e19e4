from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.store.objects.cache import KEPT_SECONDS, Cache


def test_a_copy_is_downloaded_once_and_again_when_it_was_damaged(tmp_path: Path) -> None:
    downloads = 0

    def download(path: Path) -> None:
        nonlocal downloads
        downloads += 1
        path.write_bytes(b"content")

    cache = Cache(tmp_path)
    copy = cache.file("s3://b/file.parquet", "tag", download)
    assert copy.name == "file.parquet"
    assert cache.file("s3://b/file.parquet", "tag", download) == copy
    assert downloads == 1
    copy.write_bytes(b"Content")
    assert cache.file("s3://b/file.parquet", "tag", download).read_bytes() == b"content"
    assert downloads == 2
    cache.file("s3://b/file.parquet", "newer tag", download)
    assert downloads == 3


def test_what_nothing_has_used_for_long_is_deleted(tmp_path: Path) -> None:
    def old(path: Path) -> Path:
        then = time.time() - KEPT_SECONDS - 60
        os.utime(path, (then, then))
        return path

    first = Cache(tmp_path)
    unused, used = (
        first.file(f"s3://b/{name}", "tag", lambda path: path.write_bytes(b"1") and None)
        for name in ("unused", "used")
    )
    folder = first.folder("s3://b/export", "tag", {"unused": unused})
    left = tmp_path / "unfinished" / "1-killed"
    left.mkdir()
    for path in (unused, used, folder.parent, left):
        old(path)
    first.file("s3://b/used", "tag", lambda _: None)
    with Cache(tmp_path).temporary():
        assert used.exists()
        assert not unused.exists()
        assert not folder.exists()
        assert not left.exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"store\.cache"),
        Cache(tmp_path / "file" / "cache").temporary(),
    ):
        pass
