"""Columns of tables (Parquet and Arrow) are kept with their types, and damage of them is told."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.columns import store
from tasks.columns.chunks import TableReader, of_array
from tasks.columns.join import KeptColumns
from tasks.columns.source import Source
from tasks.errors import InputError
from tasks.load import dataset
from tasks.load.dataset import LoadRequest, load_columns, load_passages
from tasks.passages.files import hash_passages
from tasks.passages.finding.file import Given
from tasks.passages.layout import Layout
from tasks.plan.plan import PlannedCheckpoint
from tests.support.in_process import write_passages
from tests.support.kept_columns import TEXTS, keep, planned_request, rows_of


def typed_table(count: int) -> pa.Table:
    """Return a table with columns of many types; all of them are kept with their types."""
    answers = [["长江", "中国"], ["长江"], []]
    return pa.table(
        {
            "context": [TEXTS["context"] if number % 5 else "" for number in range(count)],
            "answers": [answers[number % 3] if number % 5 else [] for number in range(count)],
            "number": [number if number % 5 else None for number in range(count)],
            "day": [date(2026, 11, 1 + number % 28) for number in range(count)],
            "at": pa.array([datetime(2026, 1, 1)] * count, pa.timestamp("us", "Asia/Shanghai")),
            "price": pa.array([Decimal("1.50")] * count, pa.decimal128(10, 2)),
            "tags": [[{"tag": f"t{number}"}] for number in range(count)],
            "map": pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int32())),
            "data": pa.array([b"\xff\x00"] * count, pa.binary()),
        }
    )


@pytest.mark.parametrize("rows_per_chunk", [3, 8192])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_of_tables_keep_their_types(
    load_request: LoadRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    rows_per_chunk: int,
) -> None:
    monkeypatch.setattr(store, "ROWS_PER_CHUNK", rows_per_chunk)
    given, table = tmp_path / f"a{suffix}", typed_table(200)
    write_table(table, given)
    kept = keep(load_request, given)
    names = table.schema.names[2:]
    assert kept.schema.names == names
    assert [kept.schema.field(name).type for name in names] == [
        table.schema.field(name).type for name in names
    ]
    answers = table["answers"].to_pylist()
    rows = [at for at, several in enumerate(answers) for _ in several or [""]]
    assert kept.to_pylist() == table.select(names).take(pa.array(rows)).to_pylist()


def write_table(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=70)
        return
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def test_a_damaged_column_that_is_only_kept_is_named_with_a_remedy(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    path, texts = tmp_path / "a.parquet", {name: [text] * 99 for name, text in TEXTS.items()}
    table = pa.table(
        {**texts, "note": [f"note-{number:05}" for number in range(99)], "n": [7] * 99}
    )
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"note-00077", b"note-00078"))
    with pytest.raises(InputError, match=r"after 0 rows: .*; create .*, or set dataset\.keep_"):
        keep(load_request, path)
    assert keep(load_request, path, ["n"]).to_pylist() == [{"n": 7}] * 99


def test_a_table_that_has_lost_rows_meanwhile_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write_table(pa.table({"n": [1, 2, 3]}), path)
    reader = TableReader(Source(path, Layout(".arrow", names=("n",))), "all")
    with pytest.raises(InputError, match="has no row 3; it changed while it was read: run again"):
        list(reader.take([1, 3]))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_table_is_read_before_it_is_checked_that_it_has_not_changed(
    load_request: LoadRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    path, texts = tmp_path / "a.parquet", {name: [text] for name, text in TEXTS.items()}
    pq.write_table(pa.table({**texts, "n": [1]}), path)
    request = planned_request(load_request, path)
    request = replace(request, input_sha256=hash_passages(path))
    if is_loaded:
        load_passages(replace(request, columns=None))

    def hash_and_replace(given: Given) -> str | Mapping[str, str]:
        found = hash_passages(given)
        pq.write_table(pa.table({**texts, "n": [2]}), path)
        return found

    monkeypatch.setattr(dataset, "hash_passages", hash_and_replace)
    assert request.columns is not None
    if is_loaded:
        load_columns(request, request.columns, 1)
    else:
        load_passages(request)
    kept = pq.read_table(request.columns.folder / "columns.parquet")
    assert kept.to_pylist() == [{"n": 1}]


def test_types_that_parquet_does_not_have_are_others(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    columns = {name: pa.array([text]) for name, text in TEXTS.items()}
    table = pa.table(
        {
            **columns,
            "word": pa.array(["江"]).dictionary_encode(),
            "view": pa.array(["江"], pa.string_view()),
            "ends": pa.RunEndEncodedArray.from_arrays([1], pa.array(["江"])),
            "nothing": pa.nulls(1),
            "empty": pa.array([{}], pa.struct([])),
        }
    )
    write_table(table, tmp_path / "a.arrow")
    kept = keep(load_request, tmp_path / "a.arrow")
    for values in ([["江"], None], [{"a": 1}, None]):
        coded = pa.DictionaryArray.from_arrays([0, 1], pa.array(values))
        assert of_array(coded).values.equals(pa.array(values))
    assert set(kept.schema.types) == {pa.string()}
    texts = {"word": "江", "view": "江", "ends": "江", "nothing": None, "empty": "{}"}
    assert kept.to_pylist() == [texts]


def test_bytes_that_are_no_text_are_replaced_at_any_depth(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    damaged, replaced = pa.array([b"\xe6\xb1"]).view(pa.string()), "\N{REPLACEMENT CHARACTER}"
    day = pa.array([date(2026, 11, 28)])
    table = pa.table(
        {
            **{name: [text] for name, text in TEXTS.items()},
            "text": damaged,
            "object": pa.StructArray.from_arrays([damaged, day], ["x", "day"]),
            "list": pa.ListArray.from_arrays([0, 1], damaged),
        }
    )
    write_table(table, tmp_path / "a.arrow")
    kept = keep(load_request, tmp_path / "a.arrow")
    assert kept.to_pylist() == [
        {"text": replaced, "object": {"x": replaced, "day": day[0].as_py()}, "list": [replaced]}
    ]
    assert kept.schema.field("object").type == table.schema.field("object").type


def test_dates_that_python_does_not_have_are_kept_beside_others_as_text(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    (tmp_path / "days").mkdir()
    far = pa.array([10**7], pa.int32()).view(pa.date32())
    for name, values in {"a": far, "b": pa.array(["never"])}.items():
        table = pa.table({**{key: [text] for key, text in TEXTS.items()}, "day": values})
        pq.write_table(table, tmp_path / f"days/{name}.parquet")
    kept = keep(load_request, tmp_path / "days")
    assert kept["day"].to_pylist() == ['"29349-01-26"', '"never"']


def test_a_table_whose_folders_have_the_only_other_columns(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    texts = {name: [text] * 3 for name, text in TEXTS.items()}
    (tmp_path / "dt=1").mkdir()
    pq.write_table(pa.table(texts), tmp_path / "dt=1/a.parquet")
    assert keep(load_request, tmp_path / "dt=1").to_pylist() == [{"dt": "1"}] * 3
    twice = pa.Table.from_arrays([pa.array([1] * 3)] * 2, ["x", "x"])
    for name, values in texts.items():
        twice = twice.append_column(name, pa.array(values))
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert keep(load_request, tmp_path / "twice.parquet").num_columns == 0


@pytest.mark.parametrize("group", [3, 4, 20])
def test_columns_are_put_beside_the_rows_that_are_left(
    tmp_path: Path, load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(store, "ROWS_PER_CHUNK", group)
    passages = write_passages(tmp_path / "a.jsonl", rows_of(*({"n": n} for n in range(20))))
    assert keep(load_request, passages).num_rows == 20
    folder = load_request.folder.parent.parent / "columns" / ("e" * 64)
    manifest = PlannedCheckpoint(folder, "e" * 64, {"keep": "all"}).find().manifest
    assert manifest is not None
    rows = [row for row in range(20) if row not in (0, 7, 8, 9, 19)]

    def batches() -> Iterable[pa.RecordBatch]:
        for at in range(0, len(rows), 4):
            yield pa.record_batch({"row": pa.array(rows[at : at + 4])})

    joined = pa.Table.from_batches(KeptColumns(folder, manifest).add_to(batches()))
    assert joined.to_pylist() == [{"row": row, "n": row} for row in rows]
