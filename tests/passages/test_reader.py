import gzip
import hashlib
import json
import os
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import InputError
from tasks.passages import limits
from tasks.passages.files import hash_passages
from tasks.passages.input import Input
from tasks.passages.layout import kind_of
from tasks.passages.reader import count_rows, read_files, read_passages
from tasks.passages.records import Passage
from tests.support.load_groups import write_files
from tests.support.passage_texts import ROW, jsonl, read, write


@contextmanager
def memory_within(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


# ---- all formats


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    for content in ("\ufeff", " \n\n"):
        with pytest.raises(InputError, match="has no rows"):
            read(write(tmp_path / name, content))
        with pytest.raises(InputError, match="has no rows"):
            read(write(tmp_path / f"{name}.gz", gzip.compress(content.encode(), mtime=0)))


def test_array_table_and_header_without_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "[ ]")
    write(tmp_path / "a.csv", "context,answer\n")
    empty = pa.table({"context": pa.array([], pa.string()), "answer": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "a.parquet")
    for name in ("a.json", "a.csv", "a.parquet"):
        with pytest.raises(InputError, match="has no rows"):
            read(tmp_path / name)


def test_file_that_cannot_be_used_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    write(tmp_path / "a.txt", "x")
    write(tmp_path / "a.parquet.gz", gzip.compress(b"PAR1", mtime=0))
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "empty.csv.gz", "")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "broken.jsonl").symlink_to("/proc/self/mem")  # can be opened but not read
    for name, message in {
        "folder.json": "a folder without files",
        "a.txt": "unknown format; known: .jsonl, .json, .csv, .parquet",
        "a.parquet.gz": "unknown format",
        "none.jsonl": "no such file",
        "pipe.jsonl": "not a regular file, which can be read twice",
        "empty.csv": "is empty",
        "empty.csv.gz": "is empty",
        "broken.jsonl": "cannot be read: Input/output error",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl(ROW))
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        with pytest.raises(InputError, match="Permission denied"):
            read(path)
        with pytest.raises(InputError, match="Permission denied"):
            hash_passages(path)
    else:
        pytest.skip("this user may read everything")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_reading_is_lazy(tmp_path: Path, name: str) -> None:
    # rows are yielded before the end of the file is written
    good = jsonl(*[ROW] * 3000)
    text = {
        "a.jsonl": good,
        "a.json": "[" + good.strip().replace("\n", ",\n") + ', {"never',
        "a.csv": "context,answer\n" + "段,落\n" * 30000 + '"never',
    }[name]
    outcomes = read_passages(write(tmp_path / name, text), 1)
    assert isinstance(outcomes, Iterator)
    assert all(isinstance(outcome, Passage) for outcome in islice(outcomes, 500))


def test_memory_stays_bounded(tmp_path: Path) -> None:
    row = json.dumps({**ROW, "context": "长" * 4000}, ensure_ascii=False)
    for name, text in {
        "a.jsonl": (row + "\n") * 200,
        "a.json": "[" + ",".join([row] * 200) + "]",
        "a.csv": "context,answer\n" + ("长" * 4000 + ",长\n") * 200,
    }.items():
        path = write(tmp_path / name, text)
        packed = write(tmp_path / f"{name}.gz", gzip.compress(path.read_bytes(), mtime=0))
        assert path.stat().st_size > 2 << 20
        for one in (path, packed):
            with memory_within(1 << 20):
                assert sum(1 for _ in read_passages(one, 1)) == 200


# ---- gzip

TEXTS = {
    "a.jsonl": "\ufeff\n" + jsonl(ROW) + "\r\n \u3000\nnonsense\r\n" + jsonl({**ROW, "id": "𠀀\0"}),
    "a.json": "\ufeff \n" + json.dumps([ROW, 5, {**ROW, "answer": "👩‍👧"}], ensure_ascii=False),
    "a.csv": '\ufeffcontext,answer\r\n"两\n行",\u202e行\r\n\r\n只有一格\r\n段,落\r\n',
}
in_every_kind = pytest.mark.parametrize("name", TEXTS)


@in_every_kind
def test_gzip_gives_what_the_plain_file_gives(tmp_path: Path, name: str) -> None:
    data = TEXTS[name].encode()
    expected = read(write(tmp_path / name, data))
    assert len(expected) == 3
    assert read(write(tmp_path / f"{name}.gz", gzip.compress(data, mtime=0))) == expected
    assert read(write(tmp_path / f"{name.upper()}.GZ", gzip.compress(data, mtime=0))) == expected


@in_every_kind
def test_gzip_of_several_members_is_read_whole(tmp_path: Path, name: str) -> None:
    data = TEXTS[name].encode()
    expected = read(write(tmp_path / name, data))
    for size in range(1, 20):  # also within a character, and with padding at the end
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        members = b"".join(gzip.compress(piece, mtime=0) for piece in (b"", *pieces))
        assert read(write(tmp_path / f"{name}.gz", members + bytes(size))) == expected


@in_every_kind
def test_gzip_that_is_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    data = gzip.compress(TEXTS[name].encode(), mtime=0)
    for size in range(2, len(data)):
        with pytest.raises(InputError, match=r"cannot be read: Compressed file ended.*copy it"):
            read(write(tmp_path / f"{name}.gz", data[:size]))


@in_every_kind
def test_gzip_with_a_flipped_bit_is_refused_or_gives_the_same_rows(
    tmp_path: Path, name: str
) -> None:
    data = gzip.compress(TEXTS[name].encode(), mtime=0)
    path = tmp_path / f"{name}.gz"
    expected = read(write(path, data))
    refused = set()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            outcomes = read(write(path, bytes(flipped)))
            assert outcomes == expected  # the bit may be in the date of the header, for example
        except InputError:
            refused.add(bit)
    assert refused >= set(
        range(8 * len(data) - 64, 8 * len(data))
    )  # at least the checksum and the size


def test_damaged_gzip_says_how_many_rows_were_read(tmp_path: Path) -> None:
    rows = jsonl(*({**ROW, "id": number} for number in range(5000)))
    data = gzip.compress(rows.encode(), mtime=0)
    for damaged in (data[:-1000], data[:-8] + bytes(8), data + b"garbage"):
        outcomes = []
        with pytest.raises(InputError, match="failed after") as raised:
            outcomes.extend(read_passages(write(tmp_path / "a.jsonl.gz", damaged), 1))
        told = re.search(r"after (\d+) rows", str(raised.value))
        assert told is not None
        assert 0 < int(told[1]) == len(outcomes)


BOMBS = {
    "line.jsonl.gz": (b"", b"0" * 4096),
    "cell.csv.gz": (b"context,answer\n", b"0" * 4096),
    "lines.csv.gz": (b'context,answer\n"', b"0000000\n" * 512),
    "cells.csv.gz": (b'context,answer\n"', b'0000000\n","' * 372),
    "string.json.gz": (b'["', b"0" * 4096),
    "marks.json.gz": (b"[[", b"0," * 2048),
    "blanks.json.gz": (b"[", b"    " * 1024),
}


@pytest.mark.parametrize("name", BOMBS)
def test_gzip_bomb_is_refused_before_it_takes_the_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ROW_BYTES", 1 << 17)
    start, piece = BOMBS[name]
    path = write(tmp_path / name, gzip.compress(start + piece * 2048, mtime=0))  # of 8 MiB
    assert path.stat().st_size < 1 << 15
    with memory_within(2 << 20), pytest.raises(InputError, match="longer than"):
        read(path)


# ---- what a file is


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.b.JSON", ".json"),
        ("a.csv.gz", ".csv.gz"),
        ("a.parquet.jsonl.GZ", ".jsonl.gz"),
        ("a.parquet.gz", ""),
        ("a.gz", ""),
        ("jsonl", ""),
        ("a.csv.bak", ""),
        ("a.TSV.zst", ".csv.zst"),
        ("a.ndjson", ".jsonl"),
        ("a.feather", ".arrow"),
    ],
)
def test_kind_is_told_by_the_ending(name: str, kind: str) -> None:
    assert kind_of(Path("folder.csv") / name) == kind


def test_identity_is_the_kind_and_the_bytes(tmp_path: Path) -> None:
    data = jsonl(ROW).encode()
    packed = gzip.compress(data, mtime=0)
    contents = {"a.jsonl": data, "a.json": data, "a.jsonl.gz": packed, "a.json.gz": packed}
    identities = []
    for name, content in contents.items():
        path = write(tmp_path / name, content)
        found = Input.find(path)
        assert isinstance(found, Input)
        identities.append(found.identify())
        digest = hashlib.sha256(content).hexdigest()
        assert identities[-1] == {"kind": name.removeprefix("a"), "sha256": digest}
    assert all(identities.count(one) == 1 for one in identities)


def test_file_that_is_gone_or_cannot_be_read_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").symlink_to("/proc/self/mem")
    for name in ("gone.jsonl", "broken.jsonl"):
        with pytest.raises(InputError, match=r"cannot be read: .*`dataset.predict_file`"):
            hash_passages(tmp_path / name)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_rows_are_counted_as_they_are_read(tmp_path: Path, suffix: str) -> None:
    found = Input.find(write_files(tmp_path / "in", suffix))
    assert isinstance(found, Input)
    rows = list(read_files(found.readable, 7))
    assert [one.row for one in rows] == list(range(7, 7 + count_rows(found.readable)))
    assert len(rows) > 50
