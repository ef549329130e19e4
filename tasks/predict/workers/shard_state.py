"""What is done of a shard while it is made, and its commit.

Rows are told by their position in the shard, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from tasks.engine.batch import plan_batches
from tasks.errors import WorkerError
from tasks.predict.jobs import ShardJob
from tasks.predict.known_rows import KnownPart, select_places
from tasks.predict.questions import Question
from tasks.predict.shards import RejectRow, ShardDetails
from tasks.predict.workers.pieces import Answer, Piece, Pieces
from tasks.store.manifest import Manifest, commit_manifest, fingerprint
from tasks.store.tables import CHARACTERS_PER_BATCH, SHARD, commit_table


@dataclass
class ShardState:
    """A shard that is being made.

    Attributes:
        job: the shard.
        known: what of it needs no generating.
        lengths: tokens of each row.
        pieces: where what is done is committed from time to time.
        early: where what was done before the dataset was complete is; None if that is unknown.
        planned: the batches that were planned, lists of positions.
        done: the batches that were generated, by this run or by one before that was ended.
        answers: of the rows of these batches.
        rejects: rows that broke the engine.
    """

    job: ShardJob
    known: KnownPart
    lengths: Sequence[int]
    pieces: Pieces
    planned: list[list[int]] = field(default_factory=list)
    done: list[list[int]] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    rejects: dict[int, WorkerError] = field(default_factory=dict)
    in_pieces: int = 0
    early: Pieces | None = None

    @classmethod
    def open(cls, job: ShardJob, known: KnownPart) -> Self:
        """Plan the batches of a shard, and take over what its pieces have.

        Raises:
            StoreCorruptionError: the dataset cannot be read.
        """
        state = cls(job, known, job.read_lengths(), Pieces(job))
        unknown = known.leave_unknown(job.shard.rows)
        state.planned = state._plan(unknown)
        left = set(unknown)
        if known.content:
            state.early = Pieces(job.by_content(known.content))
        early = () if state.early is None else state.early.read()
        for piece in chain(early, state.pieces.read()):
            for batch in filter(left.issuperset, piece.batches):
                state.done.append(batch)
                state.answers |= {position: piece.answers[position] for position in batch}
                left -= set(batch)
        state.in_pieces = len(state.done)
        return state

    @property
    def todo(self) -> list[list[int]]:
        """The batches that are missing; cut anew if those that are done were cut otherwise."""
        left = {at for batch in self.planned for at in batch} - self.answers.keys()
        batches = [batch for batch in self.planned if left.issuperset(batch)]
        if sum(map(len, batches)) == len(left):
            return batches
        return self._plan(sorted(left))

    def add(self, batch: list[int], questions: Sequence[Sequence[Question]]) -> None:
        """Note a batch that was generated: each row's questions, best first."""
        self.done.append(batch)
        self.answers |= zip(batch, map(make_answer, questions), strict=True)

    def commit_piece(self, now: bool = False) -> None:
        """Write what has been done since the last piece, `now` or if that is old enough.

        Raises:
            StorageError: it cannot be written.
            StoreCorruptionError: the dataset cannot be read.
        """
        new = self.done[self.in_pieces :]
        if new and (now or self.pieces.is_due):
            self.pieces.commit(self.job.read_ids(), Piece(new, self.answers))
            self.in_pieces = len(self.done)

    def padded(self, positions: Sequence[int]) -> int:
        """Return the tokens of a batch of rows, with padding."""
        return len(positions) * max(self.lengths[position] for position in positions)

    def commit(self) -> Manifest:
        """Write the shard; every row must have an answer, be rejected or be known.

        Raises:
            StorageError: it cannot be written.
            StoreCorruptionError: the dataset cannot be read.
        """
        job, name = self.job, self._file_name()
        self._copy_answers()
        rows = pa.concat_tables(job.read_rows("row", "id"))
        table = self.known.join(join_answers(rows, self.answers), rows)
        entry = commit_table(job.stage.folder / name, SHARD, table.to_batches())
        manifest = Manifest(
            kind="shard",
            fingerprint=job.stage.fingerprint,
            decided_by=job.stage.decided_by,
            files=(entry,),
            details=self._describe(rows, table).as_dict(),
        )
        commit_manifest(job.manifest_path, manifest)
        self.pieces.remove()
        if self.early is not None:
            self.early.remove_folder()
        return manifest

    def _plan(self, positions: Sequence[int]) -> list[list[int]]:
        job, lengths = self.job, [self.lengths[position] for position in positions]
        batches = plan_batches(lengths, job.stage.batch_size, job.stage.max_tokens_per_batch)
        return [[positions[place] for place in batch] for batch in batches]

    def _file_name(self) -> str:
        """Return the name that belongs to the batches that were run.

        Batches cut otherwise than planned can change the last digits of scores. Such a shard has a
        file name of its own, so that two runs which make the same shard never write different
        bytes under one name, however late one of them commits.
        """
        shard, others = self.job.shard, self.known.decided_by
        if self.done == self.planned and not others:
            return shard.file_name
        digest = fingerprint({"batches": self.done, **others})
        return f"{shard.name}-{digest[:8]}.parquet"

    def _copy_answers(self) -> None:
        """Give rows that equal another row of the shard what that got."""
        for position, original in self.known.copies.items():
            if original in self.rejects:
                self.rejects[position] = self.rejects[original]
            else:
                self.answers[position] = self.answers[original]

    def _describe(self, rows: pa.Table, table: pa.Table) -> ShardDetails:
        return ShardDetails(
            rows=len(table),
            batches=len(self.done),
            input_tokens=sum(self.lengths[position] for batch in self.done for position in batch),
            padded_tokens=sum(map(self.padded, self.done)),
            output_tokens=pc.sum(pc.list_value_length(table["output_ids"])).as_py() or 0,
            **self.known.counts,
            rejects=[
                RejectRow(
                    **rows.slice(position, 1).to_pylist()[0],
                    line=None,
                    reason=error.reason,
                    detail=str(error),
                )
                for position, error in sorted(self.rejects.items())
            ],
        )


def join_answers(rows: pa.Table, answers: Mapping[int, Answer]) -> pa.Table:
    """Return the rows that have answers, with the columns of `tasks.store.tables.SHARD`.

    `rows` has `row` and `id` of every row of the shard, `answers` are by position. The batches are
    those of `make_batches`, without a dictionary for each row.
    """
    places = sorted(answers)
    answered, rows = [answers[place] for place in places], select_places(rows, places)
    columns = {name: [answer[name] for answer in answered] for name in SHARD.names[2:]}
    sizes = [
        ids + len(question) + sum(len(other["question"]) for other in others)
        for ids, question, others in zip(
            pc.utf8_length(rows["id"]).to_pylist(),
            columns["question"],
            columns["alternatives"],
            strict=True,
        )
    ]
    batches = []
    for some in _cut_by_characters(sizes):
        known = [column[some].combine_chunks() for column in rows.columns]
        made = [pa.array(columns[name][some], SHARD.field(name).type) for name in columns]
        batches.append(pa.RecordBatch.from_arrays([*known, *made], schema=SHARD))
    return pa.Table.from_batches(batches, SHARD)


def _cut_by_characters(sizes: Sequence[int]) -> Iterator[slice]:
    """Yield the rows of each batch as `make_batches` cuts them; `sizes` are their characters."""
    start = characters = 0
    for row, size in enumerate(sizes):
        if row > start and characters + size > CHARACTERS_PER_BATCH:
            yield slice(start, row)
            start, characters = row, 0
        characters += size
    if sizes:
        yield slice(start, len(sizes))


def make_answer(questions: Sequence[Question]) -> Answer:
    """Return the answer of a row with these questions, best first."""
    best, *others = questions
    return {
        "question": best.text,
        "score": best.score,
        "output_ids": best.output_ids,
        "alternatives": [{"question": one.text, "score": one.score} for one in others],
    }
