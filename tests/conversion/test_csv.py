"""CSV, read back with the `csv` module and pandas."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.conversion.convert import convert_run
from tasks.conversion.csv import as_cell, as_csv, defuse
from tasks.conversion.questions import Tally
from tasks.conversion.target import Target
from tests.support.converted_runs import others, questions_of, schema_with, write_run
from tests.support.finished_runs import prediction

SIGNS = "=+-@＝＋－＠"
texts = st.text(st.characters(codec="utf-8"), max_size=8)
hostile = st.builds(str.__add__, st.text(f"{SIGNS}'\"|; \t\r\n\u3000\xa0", max_size=3), texts)


def is_formula(cell: str) -> bool:
    """Return whether a cell starts as OWASP's page on CSV injection warns of, maybe after spaces.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return cell.startswith(("\t", "\r", "\n")) or cell.lstrip().startswith(tuple(SIGNS))


@given(hostile | texts)
def test_a_text_is_no_formula_and_changes_only_if_it_would_be_one(text: str) -> None:
    cell = defuse(text)
    assert not is_formula(cell)
    assert cell == (f"'{text}" if is_formula(text) else text)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (-1.5, "-1.5"),
        (-3, "-3"),
        (Decimal("-1.50"), "-1.50"),
        ("-3", "'-3"),
        (True, "True"),
        (float("nan"), ""),
        (date(2026, 11, 28), "2026-11-28"),
        (["=a", {"b": None}], '["=a", {"b": null}]'),
        (b"=1", "b'=1'"),
    ],
)
def test_a_number_stays_one_and_whatever_else_there_is_is_text(value: object, cell: str) -> None:
    assert as_cell(value) == cell


@settings(max_examples=25)
@given(
    rows=st.lists(st.tuples(hostile, hostile, hostile, st.lists(hostile, max_size=2)), max_size=5),
    name=hostile.filter(lambda name: name not in schema_with().names),
)
def test_no_cell_is_a_formula_and_the_others_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str, list[str]]],
    name: str,
) -> None:
    schema = schema_with(**{name: pa.string()})
    made = [
        prediction(
            row, context=context, question=question, alternatives=others(*more), **{name: kept}
        )
        for row, (context, question, kept, more) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("run") / "predictions.parquet"
    text = "".join(as_csv(questions_of(path, made, schema), Tally()))
    header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header[-1] == defuse(name)
    expected = [
        (context, one, kept) for context, question, kept, more in rows for one in (question, *more)
    ]
    found = [dict(zip(header, line, strict=True)) for line in lines]
    numbers = {"row", "question_rank", "score", "token_count", "unknown_tokens"}
    for line in found:
        assert not [
            cell for column, cell in line.items() if is_formula(cell) and column not in numbers
        ]
        assert all(line[column] == "" or float(line[column]) is not None for column in numbers)
    shown = [(line["context"], line["question"], line[header[-1]]) for line in found]
    assert shown == [tuple(map(defuse, one)) for one in expected]


def test_pandas_reads_the_rows_with_their_types(tmp_path: Path) -> None:
    kept: dict[str, Any] = {"章": pa.string(), "价格": pa.float64(), "标签": pa.list_(pa.string())}
    rows = [
        prediction(0, alternatives=others("泰山？"), 章="第一章", 价格=-1.5, 标签=["a", "b"]),
        prediction(7, context='他说："好，\n行"', 章="=1+1", 价格=None, 标签=None),
    ]
    run = write_run(tmp_path / "store", rows, schema_with(**kept))
    path = convert_run(run, Target.CSV, tmp_path / "questions.csv").path
    assert path.read_bytes().startswith(b"\xef\xbb\xbfrow,id,")
    assert path.read_bytes().count(b"\r\n") == 4
    table = pd.read_csv(path, keep_default_na=False, na_values={"价格": [""], "is_finished": [""]})
    assert table["row"].tolist() == [0, 0, 7]
    assert table["question_rank"].tolist() == [1, 2, 1]
    assert table["question"].tolist() == ["泰山0在哪里？", "泰山？", "泰山7在哪里？"]
    assert table["score"].tolist() == [0.0, -9.0, -0.07]
    assert table["is_finished"].tolist()[::2] == [True, True]
    assert table["context"][2] == '他说："好，\n行"'
    assert table["章"].tolist() == ["第一章", "第一章", "'=1+1"]
    assert table["价格"].isna().tolist() == [False, False, True]
    assert table["标签"].tolist() == ['["a", "b"]', '["a", "b"]', ""]
    assert "output_ids" not in table
