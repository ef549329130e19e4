"""A worker: one process for one device that holds a loaded model and is told shards by path.

It is sent a `ShardJob`, which it answers with the lengths of the shard's rows, and then lists of
positions in the shard, each of which it answers with those rows' questions. An empty list asks for
the questions of rows that are known to be good.
"""

from __future__ import annotations

import logging
from functools import partial
from multiprocessing.connection import Connection

from tasks.engine.batch import Row, probe_rows
from tasks.engine.contract import Contract, read_contract
from tasks.engine.fake import FakeDetokenizer, load_fake
from tasks.engine.gpu.visible_devices import restrict_to_device
from tasks.engine.inference.session import Session
from tasks.load.encoding import QuestionTokenizer
from tasks.predict.jobs import ShardJob
from tasks.predict.questions import Detokenizer, Engine, Generator, Question, generate_batch
from tasks.predict.workers.base import WorkerOrder
from tasks.processes import answer

logger = logging.getLogger("wenti.worker")


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
            self._device = restrict_to_device(self._order.device)
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
        good_rows=probe_rows(contract),
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
