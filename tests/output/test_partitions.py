"""Data sets are divided as Hive and Spark divide them, so that other programs open them."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.output import partitions
from tasks.output.partitions import can_divide, name_partitions, write_partitions
from tasks.store.tables import HIVE_NULL

VALUES = ["北京", "a/b", "a=b", "50%", "..", "", None, "x y", "é:?*\\\"'#", "None"]
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False, metadata={"description": "its number"}),
        pa.field("city", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("n", pa.int64()),
        pa.field("is_new", pa.bool_()),
        pa.field("tags", pa.list_(pa.struct([pa.field("tag", pa.string())]))),
    ]
)


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {
            "row": number,
            "city": VALUES[number % len(VALUES)],
            "day": date(2026, 11, 1 + number % 3),
            "n": number % 2,
            "is_new": (True, False, None)[number % 3],
            "tags": [{"tag": f"标{number}"}],
        }
        for number in range(count)
    ]


def write(folder: Path, rows: list[dict[str, Any]], *columns: str, at_a_time: int = 7) -> Path:
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows, SCHEMA)

    def read(names: Sequence[str] | None) -> list[pa.RecordBatch]:
        some = table if names is None else table.select([*names])
        return some.to_batches(max_chunksize=at_a_time)

    written = write_partitions(folder, SCHEMA, read, columns)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.parquet")}
    assert written == {name: pq.read_metadata(path).num_rows for name, path in files.items()}
    return folder


def as_read(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as every reader gives them: an empty text in the name of a folder is null."""
    return [{**row, "city": row["city"] or None} for row in rows]


@pytest.mark.parametrize(("open_at_once", "waiting"), [(256, 64 << 20), (1, 64 << 20), (5, 300)])
def test_every_row_is_in_the_folder_of_its_values_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at_once: int, waiting: int
) -> None:
    monkeypatch.setattr(partitions, "MOST_OPEN", open_at_once)
    monkeypatch.setattr(partitions, "MOST_WAITING", waiting)
    rows = rows_of(60)
    folder = write(tmp_path / "out", rows, "city", "day")
    schema = pa.schema([("city", pa.string()), ("day", pa.date32())])
    found = ds.dataset(folder, partitioning=ds.partitioning(schema, flavor="hive")).to_table()
    assert sorted(found.to_pylist(), key=lambda row: row["row"]) == [
        {name: row[name] for name in found.schema.names} for row in as_read(rows)
    ]
    for place in folder.glob("*/*"):
        (file,) = place.iterdir()  # however many partitions there are
        numbers = pq.ParquetFile(file).read()["row"].to_pylist()
        assert numbers == sorted(numbers)
        groups = pq.read_metadata(file).num_row_groups
        assert groups == 1 or waiting == 300
    assert {place.name for place in folder.iterdir()} >= {"city=北京", "city=a%2Fb", "city=50%25"}


def test_pandas_and_duckdb_read_the_same(tmp_path: Path) -> None:
    rows = rows_of(60)
    folder = write(tmp_path / "out", rows, "city", "n")
    expected = sorted((row["row"], row["city"], row["n"]) for row in rows if row["city"])
    full = write(tmp_path / "full", [row for row in rows if row["city"]], "city", "n")
    frame = pd.read_parquet(full)  # which pandas cannot do where a partition is null
    texts = (list(map(str, frame[name])) for name in ("row", "city", "n"))
    assert sorted(zip(*texts, strict=True)) == sorted(tuple(map(str, one)) for one in expected)
    assert frame["tags"].iloc[0][0]["tag"].startswith("标")
    query = f"FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    found = duckdb.sql(f"SELECT row, city, n {query} WHERE city IS NOT NULL").fetchall()
    assert sorted((row, city, int(n)) for row, city, n in found) == expected
    nulls = duckdb.sql(f"SELECT count(*) {query} WHERE city IS NULL").fetchall()
    assert nulls == [(len(rows) - len(expected),)]


def test_datasets_reads_what_is_not_divided(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = rows_of(20)
    folder = write(tmp_path / "out", rows)
    (folder / "_SUCCESS").write_text("{}")
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
    assert [row["row"] for row in found] == list(range(20))
    assert found[3]["city"] == rows[3]["city"]


def test_files_lack_the_columns_of_folders_and_keep_the_meaning_of_others(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", rows_of(5), "day", "is_new")
    (path,) = folder.glob("day=2026-11-01/is_new=true/*")
    schema = pq.read_schema(path)
    assert schema.names == ["row", "city", "n", "tags"]
    assert schema.field("row").metadata[b"description"] == b"its number"
    assert not schema.field("row").nullable


@pytest.mark.parametrize("columns", [(), ("city", "day")])
def test_a_data_set_without_rows_has_its_columns(tmp_path: Path, columns: tuple[str, ...]) -> None:
    folder = write(tmp_path / "out", [], *columns)
    assert pd.read_parquet(folder).columns.tolist() == SCHEMA.names


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=8))))
def test_no_value_leaves_its_folder_and_each_can_be_read_back(values: list[str | None]) -> None:
    names = name_partitions(pa.record_batch({"a b": pa.array(values, pa.string())}), ["a b"])
    assert not any("/" in name or name in {".", ".."} for name in names)
    back = [unquote(name.removeprefix("a b=")) for name in names]
    assert back == [value or HIVE_NULL for value in values]
    known = Counter(value or None for value in values)
    assert len(set(names)) == len(known)


def test_types_that_can_divide() -> None:
    good = [pa.string(), pa.large_string(), pa.int8(), pa.uint64(), pa.bool_(), pa.date32()]
    assert all(map(can_divide, good))
    others = [pa.float64(), pa.timestamp("us"), pa.list_(pa.string()), pa.binary()]
    assert not any(map(can_divide, others))


def test_a_date_that_python_does_not_have_is_in_the_name_of_a_folder() -> None:
    days = pa.array([10**7, 0, None], pa.int32()).view(pa.date32())
    for kind in (pa.date32(), pa.date64()):
        batch = pa.record_batch({"day": days.cast(kind)})
        names = ["day=29349-01-26", "day=1970-01-01", f"day={partitions.HIVE_NULL}"]
        assert name_partitions(batch, ["day"]) == names
