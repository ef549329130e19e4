"""Columns of the input are kept, whatever its format, beside the rows of the results."""

import csv
import json
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from tasks.columns import store
from tasks.errors import InputError
from tasks.load.dataset import LoadRequest, load_columns
from tests.support.in_process import write_passages
from tests.support.kept_columns import TEXTS, described, keep, planned_request, rows_of


def test_what_wenti_uses_is_not_kept_again(load_request: LoadRequest, tmp_path: Path) -> None:
    one = {"id": "r1", "question": "哪条？"}
    passages = write_passages(tmp_path / "a.jsonl", rows_of(one, one))
    assert keep(load_request, passages).num_columns == 0
    others = {"source": "百科", "title": "河流", "target": "哪个？", "url": "http://a"}
    passages = write_passages(tmp_path / "b.jsonl", rows_of({**one, **others}))
    assert keep(load_request, passages).to_pylist() == [others]


def test_answers_are_kept_where_the_first_rows_have_an_answer_too(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    both, several = {**TEXTS, "answers": ["中国"]}, {"context": "长江", "answers": ["长", "江"]}
    passages = write_passages(tmp_path / "a.jsonl", [both, several])
    kept = keep(load_request, passages)
    assert kept["answers"].to_pylist() == [["中国"], ["长", "江"], ["长", "江"]]


def test_a_name_that_is_kept_and_given_twice_in_json_has_no_value(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    text = """{"context": "长江", "answer": "江", "data": 1, "data": 2, "x": 3,
        "meta": {"id": 1, "id": 2, "by": [{"answer": 1, "answer": 2, "y": 5}]}}
    """.replace("\n", "")
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    kept = {"data": None, "x": 3, "meta": {"id": None, "by": [{"answer": None, "y": 5}]}}
    assert keep(load_request, tmp_path / "a.jsonl").to_pylist() == [kept]


@pytest.mark.parametrize("levels", [50, 51, 250, 700])
def test_what_is_nested_deeply_is_kept(
    load_request: LoadRequest, tmp_path: Path, levels: int
) -> None:
    deep = "[" * levels + "]" * levels
    text = json.dumps({**TEXTS, "x": 0}).replace("0", deep)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (kept,) = keep(load_request, tmp_path / "a.jsonl")["x"].to_pylist()
    assert (kept if levels > 50 else json.dumps(kept)) == deep


def test_values_of_a_workbook_keep_their_types(load_request: LoadRequest, tmp_path: Path) -> None:
    day = datetime(2026, 11, 28, 1, 30)
    others = {"page": 7, "share": 0.5, "day": day, "url": "http://a"}
    pd.DataFrame(rows_of(others)).to_excel(tmp_path / "a.xlsx", index=False)
    assert keep(load_request, tmp_path / "a.xlsx").to_pylist() == [others]


def test_values_of_json_keep_their_types(load_request: LoadRequest, tmp_path: Path) -> None:
    first = {
        "whole": 2**60,
        "number": 1,
        "is_new": True,
        "tags": ["河", "江"],
        "about": {"page": 1, "by": {"name": "李"}},
        "nothing": None,
        "empty": [],
    }
    second = {**first, "number": 1.5, "is_new": None, "tags": [], "about": {"year": 2026}}
    table = keep(load_request, write_passages(tmp_path / "a.jsonl", rows_of(first, second)))
    about = {"page": None, "by": None, "year": None}
    assert table.to_pylist() == [
        {**first, "number": 1.0, "about": {**about, **first["about"]}},  # type: ignore[dict-item]
        {**second, "about": {**about, "year": 2026}},
    ]
    kinds = {"whole": "int64", "number": "double", "is_new": "bool", "nothing": "string"}
    assert {name: str(table.schema.field(name).type) for name in kinds} == kinds
    assert described(table, "tags") == "column 'tags' of the input"


@pytest.mark.parametrize("rows_per_chunk", [1, 8192])
def test_values_of_several_types_are_json_text(
    load_request: LoadRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_chunk: int
) -> None:
    monkeypatch.setattr(store, "ROWS_PER_CHUNK", rows_per_chunk)
    mixes: dict[str, tuple[Any, ...]] = {
        "number_or_text": (1, "1", None),
        "truth_or_number": (True, 1, 0),
        "list_or_object": ([1], {"a": [None]}, "文"),
        "lists": ([1], ["一"], []),
        "objects": ({"a": 1}, {"a": "x", "b": None}, {}),
        "large": (2**70, 1, 2),
        "inexact": (2**53 + 1, 0.5, None),
        "nothing_in_it": ({}, {}, {}),
        "many_fields": ({f"f{number}": number for number in range(101)}, {}, None),
    }
    rows = [{name: values[at] for name, values in mixes.items()} for at in range(3)]
    table = keep(load_request, write_passages(tmp_path / "a.jsonl", rows_of(*rows)))
    for name, values in mixes.items():
        assert table.schema.field(name).type == pa.string(), name
        texts = table[name].to_pylist()
        assert tuple(None if text is None else json.loads(text) for text in texts) == values
        assert described(table, name).endswith(
            ", as JSON text, because its values have several types"
        )
    assert table["number_or_text"].to_pylist() == ["1", '"1"', None]


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 8192])
def test_a_row_keeps_its_columns_whatever_comes_before_it(
    load_request: LoadRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_chunk: int
) -> None:
    monkeypatch.setattr(store, "ROWS_PER_CHUNK", rows_per_chunk)
    lines = [
        json.dumps({**TEXTS, "n": 0}),
        "",  # blank: no row
        "nonsense",
        json.dumps({**TEXTS, "answer": " ", "n": 2}),
        json.dumps({"context": "长江", "answers": ["长", "江", "长"], "n": 3, "late": "x"}),
        json.dumps({**TEXTS, "n": 5}),
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = keep(load_request, tmp_path / "a.jsonl")
    assert table["n"].to_pylist() == [0, None, 2, 3, 3, 5]
    assert table["late"].to_pylist() == [None, None, None, "x", "x", None]
    limited = keep(load_request, tmp_path / "a.jsonl", limit=2)
    assert limited["n"].to_pylist() == [0, None, 2, 3]


def test_columns_of_csv_are_text(load_request: LoadRequest, tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["", "context", "answer", "编号", "Score"])
        rows.writerow(["0", *TEXTS.values(), "007", ""])
        rows.writerow(["1", "only one cell"])
    table = keep(load_request, tmp_path / "a.csv")
    # no column has no name, and none has, in upper or lower case, the name of one of the results
    assert table.to_pylist() == [
        {"input_": "0", "编号": "007", "input_Score": ""},
        {"input_": None, "编号": None, "input_Score": None},
    ]
    assert described(table, "input_Score") == "column 'Score' of the input"


def test_columns_of_a_workbook_are_what_its_cells_show(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    sheet = Workbook()
    at = datetime(2026, 11, 28, 9, 30)
    sheet.active.append(["context", "answer", "no", "day", "at", "done"])
    sheet.active.append([*TEXTS.values(), "007", date(2026, 11, 28), at, True])
    sheet.active.append([*TEXTS.values(), None, None, None, None])
    sheet.save(tmp_path / "a.xlsx")
    kept = keep(load_request, tmp_path / "a.xlsx")
    assert kept.to_pylist() == [
        {"no": "007", "day": date(2026, 11, 28), "at": at, "done": True},
        dict.fromkeys(("no", "day", "at", "done")),
    ]


def test_a_number_among_the_dates_of_a_workbook_is_no_date(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    sheet = Workbook()
    sheet.active.append(["context", "answer", "day", "at"])
    sheet.active.append([*TEXTS.values(), date(2026, 11, 28), datetime(2026, 11, 28, 9, 30)])
    sheet.active.append([*TEXTS.values(), 45000, 45000])
    sheet.save(tmp_path / "a.xlsx")
    kept = keep(load_request, tmp_path / "a.xlsx")
    assert kept["day"].to_pylist() == ['"2026-11-28"', "45000"]
    assert kept["at"].to_pylist() == ['"2026-11-28 09:30:00"', "45000"]


def test_columns_are_not_put_beside_rows_that_were_counted_differently(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    passages = write_passages(tmp_path / "a.jsonl", rows_of({"n": 1}, {"n": 2}))
    request = planned_request(load_request, passages)
    assert request.columns is not None
    for rows, how in ((1, "more"), (3, "fewer")):
        with pytest.raises(InputError, match=f"has {rows} rows, but the input has {how}:"):
            load_columns(request, request.columns, rows)
    assert request.columns.find().manifest is None
    load_columns(replace(request, limit=1), request.columns, 1)


def test_files_can_have_different_columns(load_request: LoadRequest, tmp_path: Path) -> None:
    for day, columns in {
        "2026-11-01": {"n": [1], "only": ["a"], "mixed": [1]},
        "2026-11-02": {"n": [0.5], "mixed": ["江"]},
        "__HIVE_DEFAULT_PARTITION__": {"n": pa.array([2], pa.int8()), "mixed": [None]},
    }.items():
        folder = tmp_path / "days" / f"dt={day}"
        folder.mkdir(parents=True)
        texts = {name: [text] for name, text in TEXTS.items()}
        pq.write_table(pa.table({**texts, **columns}), folder / "a.parquet")  # type: ignore[dict-item]
    kept = keep(load_request, tmp_path / "days")
    assert kept.to_pylist() == [
        {"n": 1.0, "only": "a", "mixed": "1", "dt": "2026-11-01"},
        {"n": 0.5, "only": None, "mixed": '"江"', "dt": "2026-11-02"},
        {"n": 2.0, "only": None, "mixed": None, "dt": None},
    ]


def test_folders_are_columns_of_json_too(load_request: LoadRequest, tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-02"):
        folder = tmp_path / "days" / f"dt={day}"
        folder.mkdir(parents=True)
        write_passages(folder / "a.jsonl", rows_of({"n": day}))
    kept = keep(load_request, tmp_path / "days")
    assert kept.to_pylist() == [{"dt": day, "n": day} for day in ("2026-11-01", "2026-11-02")]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_folder_with_the_name_of_the_id_is_kept_beside_ids(
    load_request: LoadRequest, tmp_path: Path, suffix: str
) -> None:
    for number, own in (("7", {}), ("8", {"n": "x"}), ("9", {"id": "r9"})):
        folder = tmp_path / f"days/id={number}/dt=1"
        folder.mkdir(parents=True)
        rows, path = pd.DataFrame(rows_of(own)), folder / f"a{suffix}"
        if suffix == ".parquet":
            rows.to_parquet(path, index=False)
        elif suffix == ".csv":
            rows.to_csv(path, index=False)
        else:
            write_passages(path, rows.to_dict("records"))
    assert keep(load_request, tmp_path / "days").to_pylist() == [
        {"input_id": "7", "dt": "1", "n": None},
        {"input_id": "8", "dt": "1", "n": "x"},
        {"input_id": None, "dt": "1", "n": None},  # the id of this row is that of the file
    ]
    kept = keep(load_request, tmp_path / "days", ["id"])
    assert kept["input_id"].to_pylist() == ["7", "8", "r9"]


def test_named_columns_are_kept_whatever_they_are_used_for(
    load_request: LoadRequest, tmp_path: Path
) -> None:
    passages = write_passages(tmp_path / "a.jsonl", rows_of({"id": 7, "n": 1, "m": 2}))
    kept = keep(load_request, passages, ["id", "n", "absent"])
    assert kept.to_pylist() == [{"input_id": 7, "n": 1, "absent": None}]


def test_text_that_is_none_costs_no_row(load_request: LoadRequest, tmp_path: Path) -> None:
    row = {**TEXTS, "bad": "a\ud800", "deep": {"x": "\udfff"}, "\ud800": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    kept = keep(load_request, tmp_path / "a.jsonl")
    assert kept["bad"].to_pylist() == ["a\N{REPLACEMENT CHARACTER}"]
    assert kept["deep"].to_pylist() == [{"x": "\N{REPLACEMENT CHARACTER}"}]
    assert kept[r"\ud800"].to_pylist() == [1]


def test_names_that_are_data_do_not_become_endless_columns(
    load_request: LoadRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_COLUMNS", 3)
    rows = rows_of(*({f"user-{number}": 1} for number in range(5)))
    kept = keep(load_request, write_passages(tmp_path / "a.jsonl", rows))
    assert kept.schema.names == ["user-0", "user-1", "user-2"]
