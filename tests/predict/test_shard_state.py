from __future__ import annotations

from unittest.mock import patch

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.predict.questions import Question
from tasks.predict.workers import shard_state
from tasks.predict.workers.shard_state import join_answers, make_answer
from tasks.store import tables
from tasks.store.tables import SHARD, make_batches

TEXTS = st.text(st.sampled_from("长江a😀"), max_size=12)
SCORES = st.none() | st.floats(-9, 0, width=32)
QUESTIONS = st.builds(
    Question,
    TEXTS,
    st.none() | st.floats(-9, 0, width=32),
    st.lists(st.integers(0, 99)),
    st.just(1),
)
ROWS = st.lists(st.tuples(TEXTS, st.lists(QUESTIONS, max_size=3)), min_size=1, max_size=20)


@given(rows=ROWS, most=st.integers(1, 60), per_chunk=st.integers(1, 7))
def test_rows_with_answers_are_cut_into_the_batches_of_their_records(
    rows: list[tuple[str, list[Question]]], most: int, per_chunk: int
) -> None:
    """A row without questions stands for one that is rejected or known."""
    ids = [{"row": 10 * place, "id": text} for place, (text, _) in enumerate(rows)]
    answers = {at: make_answer(some) for at, (_, some) in enumerate(rows) if some}
    chunks = [ids[start : start + per_chunk] for start in range(0, len(ids), per_chunk)]
    schema = pa.schema([SHARD.field("row"), SHARD.field("id")])
    known = pa.concat_tables([pa.Table.from_pylist(some, schema) for some in chunks])
    records = [{**ids[at], **answer} for at, answer in answers.items()]
    with (
        patch.object(tables, "CHARACTERS_PER_BATCH", most),
        patch.object(shard_state, "CHARACTERS_PER_BATCH", most),
    ):
        expected = list(make_batches(records, SHARD))
        found = join_answers(known, dict(reversed(answers.items()))).to_batches()
    assert [batch.to_pylist() for batch in found] == [batch.to_pylist() for batch in expected]
    assert all(batch.schema == SHARD for batch in found)
