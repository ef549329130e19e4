"""A worker: one process for one device that holds a loaded model and is told shards by path.

Over one pipe it gets `ShardJob`s and answers each with any number of row counts (a batch is done)
and then either the shard's manifest or the error that ended it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from tasks.child import Child, answer
from tasks.errors import WorkerError
from tasks.generation import Generator, ShardJob, generate_shard
from tasks.settings import DatasetSettings, PredictSettings
from tasks.store import Manifest


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to load its model."""

    device: str
    export_folder: Path
    model_folder: Path
    dataset: DatasetSettings
    predict: PredictSettings


class Worker:
    """The parent's side of a worker."""

    def __init__(self, order: WorkerOrder) -> None:
        self._child = Child(f"worker on {order.device}", work, order)

    def generate(self, job: ShardJob, on_batch: Callable[[int], None]) -> Manifest:
        """Have a shard generated; `on_batch` hears of each batch's rows.

        Raises:
            WorkerError: the process died, or the shard ended in an unexpected error.
            WentiError: what ended the shard in the worker.
        """
        self._child.send(job)
        while isinstance(reply := self._child.receive(), int):
            on_batch(reply)
        if not isinstance(reply, Manifest):
            raise WorkerError(f"the {self._child.name} answered with {reply!r}")
        return reply

    def stop(self) -> None:
        """End the process."""
        self._child.stop()


def work(connection: Connection, order: WorkerOrder) -> None:
    """Be a worker until the pipe closes."""
    generator: Generator | None = None

    def generate(job: ShardJob) -> Manifest:
        nonlocal generator
        generator = generator or load_generator(order)
        return generate_shard(job, generator, connection.send)

    while True:
        try:
            job: ShardJob = connection.recv()
        except EOFError:
            return
        answer(connection, partial(generate, job))


def load_generator(order: WorkerOrder) -> Generator:
    """Load the exported model on the device, and the vocabulary."""
    from tasks.engine.contract import read_contract
    from tasks.engine.session import Session
    from tasks.engine.tokenizer import QuestionTokenizer

    contract = read_contract(order.export_folder)
    dataset = order.dataset
    return Generator(
        engine=Session(order.export_folder, contract, order.predict, order.device),
        detokenizer=QuestionTokenizer(
            order.model_folder, dataset.template, dataset.max_seq_len, dataset.max_title_len
        ),
        pad_token_id=contract.special_tokens.pad,
        eos_token_id=contract.special_tokens.eos,
    )
