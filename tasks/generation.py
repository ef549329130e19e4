"""Generating the questions of one shard: what a worker does with an engine it has loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from tasks.engine.batch import Batch, Generated, Row, pad_rows
from tasks.parts import read_rows
from tasks.shards import Shard, plan_batches, restore_order
from tasks.store import Manifest, commit_manifest
from tasks.tables import SHARD, commit_table

UNFINISHED_PENALTY = 1e3
"""Taken off the score of a sequence that did not end, as in `select_sum` of PaddleNLP's example."""


class Engine(Protocol):
    """The seam between the workflow and the model."""

    def run(self, batch: Batch) -> Generated:
        """Generate sequences for each row of a batch."""


class Detokenizer(Protocol):
    """Turns generated tokens into text."""

    def decode(self, output_ids: Sequence[int]) -> str:
        """Give the question without template prefix and special tokens."""


@dataclass(frozen=True)
class Generator:
    """What a worker holds for as long as it lives: the loaded model and its vocabulary."""

    engine: Engine
    detokenizer: Detokenizer
    pad_token_id: int
    eos_token_id: int


@dataclass(frozen=True)
class ShardJob:
    """What a worker is told to do: which rows, in what batches, and where the result goes."""

    shard: Shard
    dataset_folder: Path
    dataset: Manifest
    folder: Path
    fingerprint: str
    decided_by: dict[str, Any]
    batch_size: int
    max_tokens_per_batch: int

    @property
    def manifest_path(self) -> Path:
        """Where the shard's manifest goes."""
        return self.folder / self.shard.manifest_name

    def read_rows(self) -> pa.Table:
        """Read the shard's rows of the dataset (columns of `tasks.tables.DATASET`)."""
        return read_rows(self.dataset_folder, self.dataset, self.shard.start, self.shard.stop)


@dataclass(frozen=True)
class Question:
    """One generated sequence: text, score as the search gives it, tokens up to the eos token."""

    text: str
    score: float
    output_ids: list[int]
    is_finished: bool


def generate_shard(
    job: ShardJob, generator: Generator, on_batch: Callable[[int], None] = lambda rows: None
) -> Manifest:
    """Generate the questions of a shard and commit them; `on_batch` hears of each batch's rows."""
    table = job.read_rows()
    lengths = table["seq_len"].to_pylist()
    batches = plan_batches(lengths, job.batch_size, job.max_tokens_per_batch)
    rows = [
        Row(ids, types)
        for ids, types in zip(
            table["input_ids"].to_pylist(), table["token_type_ids"].to_pylist(), strict=True
        )
    ]
    in_batch_order: list[list[Question]] = []
    for positions in batches:
        in_batch_order += generate_batch([rows[position] for position in positions], generator)
        on_batch(len(positions))
    questions = restore_order(batches, in_batch_order)
    entry = commit_table(job.folder / job.shard.file_name, SHARD, [shard_batch(table, questions)])
    manifest = Manifest(
        kind="shard",
        fingerprint=job.fingerprint,
        decided_by=job.decided_by,
        files=(entry,),
        details=count_tokens(batches, lengths, questions),
    )
    commit_manifest(job.manifest_path, manifest)
    return manifest


def generate_batch(rows: Sequence[Row], generator: Generator) -> list[list[Question]]:
    """Give each row's questions, best first."""
    generated = generator.engine.run(pad_rows(rows, generator.pad_token_id))
    return [
        rank(
            make_question(ids, score, generator)
            for ids, score in zip(tokens.tolist(), scores.tolist(), strict=True)
        )
        for tokens, scores in zip(generated.tokens, generated.scores, strict=True)
    ]


def make_question(tokens: list[int], score: float, generator: Generator) -> Question:
    """Cut the padding off one sequence and turn it into text."""
    eos = generator.eos_token_id
    is_finished = eos in tokens
    output_ids = tokens[: tokens.index(eos) + 1] if is_finished else tokens
    return Question(generator.detokenizer.decode(output_ids), score, output_ids, is_finished)


def rank(questions: Iterable[Question]) -> list[Question]:
    """Put a row's questions in the example's order: by score, unfinished ones last."""

    def key(question: Question) -> float:
        return question.score - (0.0 if question.is_finished else UNFINISHED_PENALTY)

    return sorted(questions, key=key, reverse=True)


def shard_batch(table: pa.Table, questions: Sequence[Sequence[Question]]) -> pa.RecordBatch:
    """Give the columns of `tasks.tables.SHARD` for the rows of `table`."""
    best = [ranked[0] for ranked in questions]
    columns = {
        "row": table["row"].to_pylist(),
        "id": table["id"].to_pylist(),
        "question": [question.text for question in best],
        "score": [question.score for question in best],
        "output_ids": [question.output_ids for question in best],
        "alternatives": [
            [{"question": other.text, "score": other.score} for other in ranked[1:]]
            for ranked in questions
        ],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SHARD)


def count_tokens(
    batches: Sequence[Sequence[int]],
    lengths: Sequence[int],
    questions: Sequence[Sequence[Question]],
) -> dict[str, int]:
    """Count a shard's rows, batches and tokens: of the input, of padded batches, generated."""
    padded = sum(len(batch) * max(lengths[position] for position in batch) for batch in batches)
    return {
        "rows": len(lengths),
        "batches": len(batches),
        "input_tokens": sum(lengths),
        "padded_tokens": padded,
        "output_tokens": sum(len(ranked[0].output_ids) for ranked in questions),
    }
