from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tasks.aggregate.joining.endings import add_endings
from tasks.engine.batch import Batch, Generated
from tasks.predict.questions import Generator, make_question
from tasks.predict.workers.shard_state import make_answer
from tasks.store.tables import ENDINGS, SHARD

EOS, PAD, LONGEST = 3, 0, 5


class Silent:
    def run(self, batch: Batch) -> Generated:
        raise NotImplementedError

    def decode(self, output_ids: Sequence[int]) -> str:
        return ""


GENERATOR = Generator(Silent(), Silent(), pad_token_id=PAD, eos_token_id=EOS)


@given(st.lists(st.lists(st.integers(3, 6), min_size=LONGEST, max_size=LONGEST)), st.data())
def test_questions_have_ended_as_when_they_were_generated(
    sequences: list[list[int]], data: st.DataObject
) -> None:
    questions = [make_question(tokens, 0.5, GENERATOR) for tokens in sequences]
    rows = [
        {"row": number, "id": "r", **make_answer([question])}
        for number, question in enumerate(questions)
    ]
    start = data.draw(st.integers(0, len(rows)))
    middle = data.draw(st.integers(start, len(rows)))
    batches = [pa.RecordBatch.from_pylist(rows, SHARD) for _ in range(2)]
    table = pa.Table.from_batches([batches[0][start:middle], batches[1][middle:]], SHARD)
    found = add_endings(table, EOS)
    assert found.schema == pa.schema([*SHARD, *ENDINGS])
    assert found["is_finished"].to_pylist() == [one.is_finished for one in questions[start:]]
    assert found["token_count"].to_pylist() == [len(one.output_ids) for one in questions[start:]]


def test_a_question_without_tokens_has_not_ended() -> None:
    row = {"row": 0, "id": "r", "question": "", "output_ids": [], "alternatives": []}
    found = add_endings(pa.Table.from_pylist([row], SHARD), EOS)
    assert found.select(["is_finished", "token_count"]).to_pylist() == [
        {"is_finished": False, "token_count": 0}
    ]
    assert add_endings(SHARD.empty_table(), EOS).num_columns == len(SHARD) + 2
