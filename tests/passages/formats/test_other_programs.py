"""Files of passages as other programs write them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from pyarrow import feather

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject
from tests.support.passage_texts import write

ROWS = [
    {"context": "长城始建于春秋战国时期，\n“明”长城东起鸭绿江。", "answer": "鸭绿江", "id": "a"},
    {"context": '维纳恩湖位于瑞典, "洪泽湖"位于中国。', "answer": "瑞典", "id": "b"},
    {"context": "滇池地处云南省境内；\t𠮷野家", "answer": "云南省", "id": "c"},
]
LIBREOFFICE = Path(__file__).parent / "libreoffice"
FRAME = pd.DataFrame(ROWS)
COLUMNS = pa.Table.from_pylist(ROWS)


def cast(kind: pa.DataType) -> pa.Table:
    return COLUMNS.cast(pa.schema([(name, kind) for name in COLUMNS.column_names]))


def write_views(path: Path) -> None:
    table = cast(pa.string_view())
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def write_stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, COLUMNS.schema) as writer:
        writer.write_table(COLUMNS, max_chunksize=2)


def write_by_duckdb(path: Path, options: str) -> None:
    with duckdb.connect() as database:
        database.register("rows", COLUMNS)
        database.execute(f"COPY (FROM rows) TO '{path}' ({options})")


WRITERS: dict[str, Callable[[Path], object]] = {
    "pandas.csv": lambda path: FRAME.to_csv(path, index=False),
    "pandas-index.csv": lambda path: FRAME.to_csv(path),
    "pandas.tsv": lambda path: FRAME.to_csv(path, sep="\t", index=False),
    "excel.csv": lambda path: FRAME.to_csv(path, index=False, encoding="utf-8-sig", sep=";"),
    "unicode.txt": lambda path: FRAME.to_csv(path, index=False, encoding="utf-16", sep="\t"),
    "pandas.csv.gz": lambda path: FRAME.to_csv(path, index=False),
    "pandas.json": lambda path: FRAME.to_json(path, orient="records"),
    "pandas-indented.json": lambda path: FRAME.to_json(path, orient="records", indent=2),
    "pandas.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "pandas.jsonl.gz": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "pandas.parquet": lambda path: FRAME.to_parquet(path),
    "pandas.feather": lambda path: FRAME.to_feather(path),
    "category.parquet": lambda path: FRAME.astype("category").to_parquet(path),
    "datasets.jsonl": lambda path: Dataset.from_list(ROWS).to_json(path, force_ascii=False),
    "datasets.csv": lambda path: Dataset.from_list(ROWS).to_csv(path, index=False),
    "datasets.parquet": lambda path: Dataset.from_list(ROWS).to_parquet(path),
    "pandas.xlsx": lambda path: FRAME.to_excel(path, index=False),
    "duckdb.parquet": lambda path: write_by_duckdb(path, "FORMAT parquet, COMPRESSION zstd"),
    "duckdb.csv": lambda path: write_by_duckdb(path, "FORMAT csv, HEADER"),
    "duckdb.csv.gz": lambda path: write_by_duckdb(path, "FORMAT csv, HEADER, COMPRESSION gzip"),
    "duckdb-bars.csv": lambda path: write_by_duckdb(path, "FORMAT csv, HEADER, DELIMITER '|'"),
    "duckdb.jsonl": lambda path: write_by_duckdb(path, "FORMAT json"),
    "duckdb.json.zst": lambda path: write_by_duckdb(path, "FORMAT json, COMPRESSION zstd"),
    "duckdb-array.json": lambda path: write_by_duckdb(path, "FORMAT json, ARRAY true"),
    "stream.arrow": write_stream,
    "file.arrow": lambda path: feather.write_feather(COLUMNS, str(path), compression="zstd"),
    "large.parquet": lambda path: pq.write_table(cast(pa.large_string()), path),
    "view.arrow": write_views,
    "binary.parquet": lambda path: pq.write_table(cast(pa.binary()), path),
    "binary.arrow": lambda path: feather.write_feather(cast(pa.large_binary()), str(path)),
    "dictionary.arrow": lambda path: feather.write_feather(
        pa.table([column.dictionary_encode() for column in COLUMNS.columns], COLUMNS.column_names),
        str(path),
    ),
}


def rows_of(path: Path, **options: object) -> list[dict[str, str]]:
    found = list(read_passages(path, 1, **options))  # type: ignore[arg-type]
    assert all(isinstance(one, Passage) for one in found), found
    return [
        {"context": one.context, "answer": one.answer, "id": one.id}
        for one in found
        if isinstance(one, Passage)
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_what_other_programs_write_is_read(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert rows_of(tmp_path / name) == ROWS


def test_shards_that_datasets_saves_are_read_as_a_folder(tmp_path: Path) -> None:
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "in", num_shards=3)
    assert {"state.json", "dataset_info.json"} <= {one.name for one in (tmp_path / "in").iterdir()}
    assert rows_of(tmp_path / "in") == ROWS
    assert rows_of(tmp_path / "in/*.arrow") == ROWS


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_partitions_that_duckdb_writes_are_read_as_a_folder(tmp_path: Path, kind: str) -> None:
    with duckdb.connect() as database:
        database.register("rows", COLUMNS)
        query = "SELECT *, '2026-11-' || (20 + row_number() OVER ()) AS dt FROM rows"
        options = f"FORMAT {kind}, PARTITION_BY (dt)"
        database.execute(f"COPY ({query}) TO '{tmp_path / 'in'}' ({options})")
    assert min((tmp_path / "in").iterdir()).name == "dt=2026-11-21"
    assert rows_of(tmp_path / "in") == ROWS
    days = rows_of(tmp_path / "in", fields=FieldSettings(id="dt"))
    assert [one["id"] for one in days] == ["2026-11-21", "2026-11-22", "2026-11-23"]


@pytest.mark.parametrize("name", ["passages.xlsx", "passages.csv"])
def test_what_libreoffice_has_saved_is_read(name: str) -> None:
    """LibreOffice 7.4 made numbers of `007` and `50%`; its CSV is separated by semicolons."""
    fields = FieldSettings(context="段落", answer="答案", id="编号", reference="参考问题")
    rows = list(read_passages(LIBREOFFICE / name, 1, fields=fields))
    wall, lake, year, share = rows
    assert isinstance(wall, Passage)
    assert (wall.context, wall.answer) == (ROWS[0]["context"], ROWS[0]["answer"])
    assert (wall.id, wall.reference, wall.line) == ("7", "明长城东起何处？", 2)
    assert isinstance(lake, Passage)
    assert (lake.context, lake.id, lake.reference) == (ROWS[1]["context"], "12", None)
    assert isinstance(year, Passage)
    assert (year.context, year.answer) == ("中华民国成立于1912年；\t𠮷野家", "1912")
    if name == "passages.xlsx":
        assert isinstance(share, Reject)
        assert (share.reason, share.line) == (Reason.WRONG_TYPE, 5)


def test_rows_of_squad_that_datasets_writes_are_read(tmp_path: Path) -> None:
    answers = {"text": ["鸭绿江", "鸭绿江", "长城"], "answer_start": [0, 0, 1]}
    none = {"text": [], "answer_start": []}
    rows = [{**ROWS[0], "answers": answers}, {**ROWS[1], "answers": none}]
    found = Dataset.from_list(rows).remove_columns("answer")
    found.to_parquet(tmp_path / "a.parquet")
    found.to_json(tmp_path / "a.jsonl")
    for name in ("a.parquet", "a.jsonl"):
        outcomes = list(read_passages(tmp_path / name, 1))
        assert [getattr(one, "answer", None) for one in outcomes] == ["鸭绿江", "长城", None]
        assert [one.id for one in outcomes] == ["a", "a", "b"]


@pytest.mark.parametrize("program", ["zstd", "iconv"])
def test_what_programs_of_the_system_write_is_read(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    if program == "zstd":
        subprocess.run(["zstd", "-q", str(tmp_path / "a.csv")], check=True)
        assert rows_of(tmp_path / "a.csv.zst") == ROWS
        return
    command = ["iconv", "-f", "UTF-8", "-t", "GB18030", str(tmp_path / "a.csv")]
    write(tmp_path / "gb.csv", subprocess.run(command, check=True, capture_output=True).stdout)
    with pytest.raises(InputError, match="looks like GB18030"):
        rows_of(tmp_path / "gb.csv")
    assert rows_of(tmp_path / "gb.csv", encoding="gb18030") == ROWS


def test_a_stream_of_arrow_that_ends_early_is_refused(tmp_path: Path) -> None:
    write_stream(tmp_path / "a.arrow")
    data = (tmp_path / "a.arrow").read_bytes()
    for size in (len(data) - 8, len(data) // 2, 4):
        with pytest.raises(InputError, match="cannot be read"):
            rows_of(write(tmp_path / "b.arrow", data[:size]))


def test_frames_of_zstandard_follow_one_another(tmp_path: Path) -> None:
    frame = bytes(pa.Codec("zstd").compress(b'{"context": "a", "answer": "b", "id": "1"}\n'))
    assert len(rows_of(write(tmp_path / "a.jsonl.zst", frame * 3))) == 3


def test_columns_of_a_table_are_named_in_the_config(tmp_path: Path) -> None:
    names = {"context": "passage", "answer": "ans", "id": "doc_id"}
    FRAME.rename(columns=names).to_feather(tmp_path / "a.arrow")
    assert rows_of(tmp_path / "a.arrow", fields=FieldSettings(**names)) == ROWS
