"""Records and texts for tests of passages, and functions that write and read files of them."""

import json
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reason, Reject

ROW = {"context": "长江是中国最长的河流。", "answer": "长江"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VISIBLE = st.tuples(TEXT, st.sampled_from("长aé，😀"), TEXT).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["context", "answer", "source", "title", "id", "question", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path: Path, template: int = 1) -> list[Passage | Reject]:
    return list(read_passages(path, template))


def jsonl(*records: object) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def reason_of(outcome: Passage | Reject) -> Reason | None:
    return outcome.reason if isinstance(outcome, Reject) else None
