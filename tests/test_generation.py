from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.batch import Batch, Generated
from tasks.generation import (
    Generator,
    Question,
    ShardJob,
    generate_shard,
    make_question,
    rank,
)
from tasks.parts import REJECTS_FILE
from tasks.shards import Shard
from tasks.store import Manifest, find_checkpoint
from tasks.tables import DATASET, REJECTS, SHARD, commit_table

PAD, EOS = 0, 3
LENGTHS = [5, 60, 7, 300, 12, 9, 60, 31]


class Echo:
    """An engine whose answer to a row is the row's second token, with its length as the score."""

    def run(self, batch: Batch) -> Generated:
        tokens = np.full((len(batch), 1, 4), PAD, np.int32)
        tokens[:, 0, 0], tokens[:, 0, 1] = batch.input_ids[:, 1], EOS
        return Generated(tokens, batch.seq_len.astype(np.float32)[:, None])


class Spell:
    def decode(self, output_ids: Sequence[int]) -> str:
        return "-".join(map(str, output_ids))


GENERATOR = Generator(Echo(), Spell(), pad_token_id=PAD, eos_token_id=EOS)


@pytest.fixture
def dataset(tmp_path: Path) -> Manifest:
    rows = [
        {
            "row": number,
            "id": f"id-{number}",
            "context": "c",
            "answer": "a",
            "reference": None,
            "input_ids": [1, 100 + number, *[9] * (length - 2)],
            "token_type_ids": [0] * length,
            "seq_len": length,
        }
        for number, length in enumerate(LENGTHS)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=DATASET)
    part = commit_table(tmp_path / "part-00000-of-00001.parquet", DATASET, [batch])
    rejects = commit_table(tmp_path / REJECTS_FILE, REJECTS, [])
    details = {"rows_in": len(rows), "rows": len(rows), "rejects": 0, "part_rows": [len(rows)]}
    return Manifest(
        kind="dataset", fingerprint="d", decided_by={}, files=(part, rejects), details=details
    )


def job_for(dataset: Manifest, folder: Path, start: int, stop: int, batch_size: int) -> ShardJob:
    return ShardJob(
        shard=Shard(0, 1, start, stop),
        dataset_folder=folder,
        dataset=dataset,
        folder=folder / "predictions",
        fingerprint="p",
        decided_by={"stage": "test"},
        batch_size=batch_size,
        max_tokens_per_batch=512,
    )


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_shard_holds_its_rows_in_input_order_whatever_the_batches(
    dataset: Manifest, tmp_path: Path, batch_size: int
) -> None:
    job = job_for(dataset, tmp_path, 2, 7, batch_size)
    done: list[int] = []
    manifest = generate_shard(job, GENERATOR, done.append)
    table = pq.read_table(job.folder / job.shard.file_name)
    assert table.schema == SHARD
    assert table["id"].to_pylist() == [f"id-{number}" for number in range(2, 7)]
    assert table["question"].to_pylist() == [f"{100 + number}-{EOS}" for number in range(2, 7)]
    assert table["score"].to_pylist() == LENGTHS[2:7]
    assert sum(done) == 5
    assert manifest.details["input_tokens"] == sum(LENGTHS[2:7])
    assert manifest.details["padded_tokens"] >= sum(LENGTHS[2:7])
    assert find_checkpoint(job.manifest_path, "p").manifest == manifest


def test_a_shard_made_again_has_the_same_bytes(dataset: Manifest, tmp_path: Path) -> None:
    job = job_for(dataset, tmp_path, 0, 8, 3)
    generate_shard(job, GENERATOR)
    first = {path.name: path.read_bytes() for path in job.folder.iterdir()}
    generate_shard(job, GENERATOR)
    assert {path.name: path.read_bytes() for path in job.folder.iterdir()} == first


@given(st.lists(st.integers(4, 50), max_size=10), st.integers(0, 5))
def test_a_sequence_is_cut_behind_its_eos(body: list[int], padding: int) -> None:
    question = make_question([*body, EOS, *[PAD] * padding], 0.5, GENERATOR)
    assert question.output_ids == [*body, EOS]
    assert question.is_finished
    assert not make_question(body, 0.5, GENERATOR).is_finished


@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1))
def test_questions_are_ranked_by_score_with_unfinished_ones_last(
    found: list[tuple[float, bool]],
) -> None:
    questions = [Question(str(n), score, [], ended) for n, (score, ended) in enumerate(found)]
    ranked = rank(questions)
    # select_sum of PaddleNLP's example: 1e3 off what did not end, then a stable sort downwards
    expected = sorted(questions, key=lambda q: -(q.score - (0 if q.is_finished else 1e3)))
    assert ranked == expected
    ended = [question.is_finished for question in ranked]
    assert ended == sorted(ended, reverse=True)
