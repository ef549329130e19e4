"""questions.parquet has one row for each question; everything else of a row is repeated."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.output import questions
from tasks.output.questions import ONLY_BEST, questions_schema, split_questions
from tasks.store.tables import PREDICTIONS
from tests.support.finished_runs import prediction

SCHEMA = PREDICTIONS.append(pa.field("tags", pa.list_(pa.string())))


def rows_with(counts: list[int]) -> list[dict[str, Any]]:
    return [
        prediction(
            number,
            alternatives=[
                {"question": f"其他{number}.{other}", "score": None if other else -2.0}
                for other in range(count)
            ],
            tags=[str(number)] * (number % 3),
        )
        for number, count in enumerate(counts)
    ]


def expected(row: dict[str, Any]) -> list[dict[str, Any]]:
    same = {name: value for name, value in row.items() if name != "alternatives"}
    empty = dict.fromkeys(ONLY_BEST)
    others = enumerate(row["alternatives"], 2)
    return [
        {**same, "question_rank": 1},
        *({**same, **empty, "question_rank": rank, **other} for rank, other in others),
    ]


@pytest.mark.parametrize("most", [1, 2000, 1 << 26])
@given(counts=st.lists(st.integers(0, 4), max_size=12), data=st.data())
def test_each_question_is_a_row_in_order(most: int, counts: list[int], data: st.DataObject) -> None:
    rows = rows_with(counts)
    start = data.draw(st.integers(0, len(rows)))
    batches = [
        pa.RecordBatch.from_pylist(rows, SCHEMA).slice(0, start),
        pa.RecordBatch.from_pylist(rows, SCHEMA).slice(start),
    ]
    schema = questions_schema(SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(questions, "CHARACTERS_PER_BATCH", most)
        found = pa.Table.from_batches(split_questions(batches, schema), schema)
    found.validate(full=True)
    wanted = [one for row in rows for one in expected(row)]
    wanted = pa.Table.from_pylist(wanted, schema).to_pylist()  # scores are float32
    assert found.to_pylist() == wanted
