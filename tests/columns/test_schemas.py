"""The documented columns of the results are those that are written, with the same texts."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.columns.schemas import DESCRIPTIONS, REJECT_DESCRIPTIONS, describe
from tasks.store.tables import PREDICTIONS, REJECTS_OF_FILES
from tests.support.rehearsal import ROOT

FILES = {
    "predictions.parquet": describe(PREDICTIONS),
    "rejects.parquet": describe(REJECTS_OF_FILES, REJECT_DESCRIPTIONS),
}
PAGES = [ROOT / "docs/results.md", ROOT / "docs/zh/results.md"]


def read_page(path: Path, file: str) -> list[list[str]]:
    """Return the cells of the table of a file: names, types and descriptions of columns."""
    lines = path.read_text(encoding="utf-8").partition(f"\n## {file}\n")[2].splitlines()
    rows = [re.split(r" ?\| ?", line)[1:-1] for line in lines]
    found = next((number for number, row in enumerate(rows) if row), len(rows))
    table = rows[found:]
    return table[2 : table.index([])]


def type_name(kind: pa.DataType) -> str:
    return re.sub(r"(element|item): ", "", str(kind))


@pytest.mark.parametrize("file", FILES)
def test_every_column_is_documented_with_its_type(file: str) -> None:
    documented = [[name, kind] for name, kind, _ in read_page(PAGES[0], file)]
    assert documented == [[f"`{field.name}`", type_name(field.type)] for field in FILES[file]]
    texts = [field.metadata[b"description"].decode() for field in FILES[file]]
    assert [text.replace("`", "") for *_, text in read_page(PAGES[0], file)] == texts
    chinese = [[name, kind] for name, kind, text in read_page(PAGES[1], file) if text]
    assert chinese == documented


def test_no_description_is_of_a_column_that_there_is_not() -> None:
    assert set(DESCRIPTIONS) == set(PREDICTIONS.names)
    assert set(REJECT_DESCRIPTIONS) == set(REJECTS_OF_FILES.names)


def test_a_run_writes_what_is_documented(demo_store: Path) -> None:
    run = demo_store / "runs/latest"
    predictions = pq.read_schema(run / "predictions.parquet")
    assert predictions.equals(FILES["predictions.parquet"], check_metadata=False)
    for name, descriptions in (
        ("predictions.parquet", DESCRIPTIONS),
        ("rejects.parquet", REJECT_DESCRIPTIONS),
    ):
        for field in pq.read_schema(run / name):
            assert field.metadata[b"description"].decode() == descriptions[field.name]
    lines = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    known = {*PREDICTIONS.names, "partial"}
    assert set().union(*map(json.loads, lines)) <= known
