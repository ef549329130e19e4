"""A worker: one process for one device that holds a loaded model and is told shards by path.

It is sent a `ShardJob`, which it answers with the lengths of the shard's rows, and then lists of
positions in the shard, each of which it answers with those rows' questions. An empty list asks for
the questions of rows that are known to be good.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.child import Child, answer
from tasks.engine.batch import Row
from tasks.engine.contract import Contract, read_contract
from tasks.engine.export import made_up_rows
from tasks.engine.fake import FakeDetokenizer, load_fake
from tasks.engine.gpu.one_gpu import see_only
from tasks.engine.session import Session
from tasks.engine.tokenizer import QuestionTokenizer
from tasks.errors import StoppedError, WorkerError
from tasks.generation import Detokenizer, Engine, Generator, Question, generate_batch
from tasks.jobs import ShardJob
from tasks.limits import FIRST_SECONDS
from tasks.settings import DatasetSettings, PredictSettings

logger = logging.getLogger("wenti.worker")


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to load its model."""

    device: str
    export_folder: Path
    model_folder: Path
    dataset: DatasetSettings
    predict: PredictSettings


class Worker:
    """The parent's side of a worker; see `tasks.shard_run.BatchRunner`."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._child: Child | None = None
        self._is_closed = False

    @property
    def device(self) -> str:
        """The device that it works on."""
        return self._order.device

    def find_process(self) -> int | None:
        """Give the id of its process; None while it has none."""
        child = self._child
        return None if child is None else child.process_id

    def open(self, job: ShardJob) -> list[int]:
        """Have the shard's rows read, by a new process if there is none; gives their lengths.

        Raises:
            WorkerError: the process died, or did not get ready in time.
            WentiError: what kept it from loading the model or the rows.
        """
        if self._child is None and not self._is_closed:
            self._child = Child(f"worker on {self._order.device}", work, self._order)
        lengths: list[int] = self._ask(job, FIRST_SECONDS)
        return lengths

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        """See `tasks.shard_run.BatchRunner`."""
        questions: list[list[Question]] = self._ask(list(positions), seconds)
        return questions

    def check(self) -> None:
        """See `tasks.shard_run.BatchRunner`."""
        self._ask([], FIRST_SECONDS)

    def restart(self) -> None:
        """End the process; the next `open` starts a new one."""
        if self._child is not None:
            self._child.stop()
        self._child = None

    def close(self) -> None:
        """End the process for good; whoever waits for it, or asks it, gets a `StoppedError`."""
        self._is_closed = True
        self.restart()

    def _ask(self, message: ShardJob | list[int], seconds: float) -> Any:  # noqa: ANN401
        child = self._child
        if child is None or self._is_closed:
            raise StoppedError("the run was stopped")
        try:
            child.send(message)
            return child.receive(seconds)
        except WorkerError as error:
            if self._is_closed:
                raise StoppedError("the run was stopped") from error
            raise


def work(connection: Connection, order: WorkerOrder) -> None:
    """Be a worker until the pipe closes."""
    work_place = _WorkPlace(order)
    while True:
        try:
            message: ShardJob | list[int] = connection.recv()
        except EOFError:
            return
        if isinstance(message, ShardJob):
            answer(connection, partial(work_place.open, message))
        else:
            answer(connection, partial(work_place.run, message))


class _WorkPlace:
    """What a worker has before it: the loaded model and the rows of the open shard."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._device: str | None = None
        self._generator: Generator | None = None
        self._rows: list[Row] = []

    def open(self, job: ShardJob) -> list[int]:
        if self._device is None:
            self._device = see_only(self._order.device)
        if self._generator is None:
            self._generator = load_generator(self._order, self._device)
            logger.info("the model is loaded")
        table = job.read_rows()
        columns = (table[name].to_pylist() for name in ("input_ids", "token_type_ids", "row"))
        self._rows = [Row(*values) for values in zip(*columns, strict=True)]
        return [len(row.input_ids) for row in self._rows]

    def run(self, positions: list[int]) -> list[list[Question]]:
        if self._generator is None:
            raise RuntimeError("no shard is open")
        rows = [self._rows[position] for position in positions]
        return generate_batch(rows or self._generator.good_rows, self._generator)


def load_generator(order: WorkerOrder, device: str) -> Generator:
    """Load the exported model, and the vocabulary; `device` is its name in this process."""
    contract = read_contract(order.export_folder)
    load = _load_fake if contract.engine == "fake" else _load_session
    engine, detokenizer = load(order, contract, device)
    return Generator(
        engine=engine,
        detokenizer=detokenizer,
        pad_token_id=contract.special_tokens.pad,
        eos_token_id=contract.special_tokens.eos,
        good_rows=made_up_rows(contract),
    )


def _load_session(
    order: WorkerOrder, contract: Contract, device: str
) -> tuple[Engine, Detokenizer]:
    dataset = order.dataset
    return (
        Session(order.export_folder, contract, order.predict, device, called=order.device),
        QuestionTokenizer(
            order.model_folder, dataset.template, dataset.max_seq_len, dataset.max_title_len
        ),
    )


def _load_fake(order: WorkerOrder, contract: Contract, _device: str) -> tuple[Engine, Detokenizer]:
    detokenizer = FakeDetokenizer(order.model_folder, contract)
    return load_fake(contract, order.device), detokenizer
