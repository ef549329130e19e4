"""The child's side of a worker on this machine: a process that holds a loaded model.

It answers one `tasks.predict.workers.base.Request` after the other until the pipe closes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.engine.batch import Row, probe_rows
from tasks.engine.contract import Contract, read_contract
from tasks.engine.fake import FakeDetokenizer, load_fake
from tasks.engine.gpu.visible_devices import restrict_to_device
from tasks.engine.inference.session import Session
from tasks.load.encoding import QuestionTokenizer
from tasks.load.row_keys import hash_rows
from tasks.predict.jobs import ShardJob, StageJob
from tasks.predict.questions import Detokenizer, Engine, Generator, Question, generate_batch
from tasks.predict.shards import Shard
from tasks.predict.workers.base import (
    CheckHealth,
    OpenShard,
    OpenStage,
    Request,
    RunBatch,
    WorkerOrder,
)
from tasks.processes import answer
from tasks.store.tables import split_lists

logger = logging.getLogger("wenti.worker")


def work(connection: Connection, order: WorkerOrder) -> None:
    """Answer the requests that come through the pipe, until it closes."""
    batch_worker = BatchWorker(order)
    while True:
        try:
            request: Request[Any] = connection.recv()
        except EOFError:
            return
        answer(connection, partial(batch_worker.handle, request))


class BatchWorker:
    """A loaded model and the rows of the open shard; it must have its process to itself."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._device: str | None = None
        self._generator: Generator | None = None
        self._stage: StageJob | None = None
        self._rows: list[Row] = []

    def handle(self, request: Request[Any]) -> object:
        """Return the answer to a request, of the type that the request names.

        Raises:
            WentiError, OSError: as `tasks.predict.workers.base.BatchRunner` tells of them.
            MemoryError: the process has no memory left.
        """
        match request:
            case OpenStage(stage):
                self._stage = stage
                return None
            case OpenShard(shard):
                self._open(shard)
                return None
            case RunBatch(positions):
                return self._generate([self._rows[position] for position in positions])
            case CheckHealth():
                self._generate(self._loaded.good_rows)
                return None
            case _:
                raise TypeError(f"no worker answers a {type(request).__name__}")

    def _open(self, shard: Shard) -> None:
        if self._stage is None:
            raise RuntimeError("it is not known of which stage the shard is")
        if self._device is None:
            self._device = restrict_to_device(self._order.device)
        if self._generator is None:
            self._generator = load_generator(self._order, self._device)
            logger.info("the model is loaded")
        self._rows = []  # the tokens of the last shard, before those of this one are read
        is_sampling = self._generator.is_sampling
        parts = ShardJob(shard, self._stage).read_rows("input_ids", "token_type_ids")
        batches = (batch for part in parts for batch in part.to_batches())
        self._rows = [row for batch in batches for row in make_rows(batch, is_sampling)]

    def _generate(self, rows: Sequence[Row]) -> list[list[Question]]:
        return generate_batch(rows, self._loaded)

    @property
    def _loaded(self) -> Generator:
        if self._generator is None:
            raise RuntimeError("no shard is open")
        return self._generator


def make_rows(batch: pa.RecordBatch, is_sampling: bool) -> list[Row]:
    """Return the rows with the columns `input_ids` and `token_type_ids`.

    What a row's sampling is seeded with is a hash of its tokens, so that an equal row gets equal
    questions wherever it stands; 0 where nothing is drawn.
    """
    numbers = [0] * batch.num_rows
    if is_sampling:
        numbers = (hash_rows(batch)[:, 0] >> np.uint64(1)).tolist()  # int64, not negative
    tokens = (split_lists(batch[name]) for name in ("input_ids", "token_type_ids"))
    return [Row(*values) for values in zip(*tokens, numbers, strict=True)]


def load_generator(order: WorkerOrder, device: str) -> Generator:
    """Load the exported model and its vocabulary; `device` is its name in this process.

    Raises:
        WentiError: the export or the vocabulary cannot be read, the vocabulary has changed, or the
            device cannot be used.
    """
    contract = read_contract(order.export_folder)
    load = _load_fake if contract.engine == "fake" else _load_session
    engine, detokenizer = load(order, contract, device)
    return Generator(
        engine=engine,
        detokenizer=detokenizer,
        pad_token_id=contract.special_tokens.pad,
        eos_token_id=contract.special_tokens.eos,
        good_rows=probe_rows(contract),
        is_sampling=contract.decode.is_sampling,
    )


def _load_session(
    order: WorkerOrder, contract: Contract, device: str
) -> tuple[Engine, Detokenizer]:
    dataset = order.dataset
    return (
        Session(order.export_folder, contract, order.predict, device, called=order.device),
        QuestionTokenizer(
            order.tokenizer, dataset.template, dataset.max_seq_len, dataset.max_title_len
        ),
    )


def _load_fake(order: WorkerOrder, contract: Contract, _device: str) -> tuple[Engine, Detokenizer]:
    detokenizer = FakeDetokenizer(order.tokenizer, contract)
    return load_fake(contract, order.device), detokenizer
