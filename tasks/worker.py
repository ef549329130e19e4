"""A worker: one process for one device that holds a loaded model and is told shards by path.

The process is spawned, so that it inherits nothing of Prefect or of another worker's Paddle. Over
one pipe it gets `ShardJob`s and answers each with any number of row counts (a batch is done) and
then either the shard's manifest or the error that ended it.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from tasks.errors import WentiError, WorkerError
from tasks.generation import Generator, ShardJob, generate_shard
from tasks.settings import DatasetSettings, PredictSettings
from tasks.store import Manifest

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class WorkerOrder:
    """What a worker needs to load its model."""

    device: str
    export_folder: Path
    model_folder: Path
    dataset: DatasetSettings
    predict: PredictSettings


class Worker:
    """The parent's side of a worker; a context manager that ends the process."""

    def __init__(self, order: WorkerOrder) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.device = order.device
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=work, args=(theirs, order), name=f"wenti {order.device}", daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Worker:
        """Give the worker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        self.stop()

    def generate(self, job: ShardJob, on_batch: Callable[[int], None]) -> Manifest:
        """Have a shard generated; `on_batch` hears of each batch's rows.

        Raises:
            WorkerError: the process died.
        WentiError: whatever ended the shard in the worker.
        """
        try:
            self._connection.send(job)
            while isinstance(answer := self._connection.recv(), int):
                on_batch(answer)
        except (EOFError, OSError) as error:
            raise WorkerError(
                f"the worker on {self.device} died ({self._how_it_ended()})"
            ) from error
        if isinstance(answer, Manifest):
            return answer
        if isinstance(answer, WentiError):
            raise answer
        raise WorkerError(f"the worker on {self.device} answered with {answer!r}")

    def stop(self) -> None:
        """End the process: it may finish what it writes, then it is killed."""
        self._connection.close()
        self._process.terminate()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _how_it_ended(self) -> str:
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        if code is None:
            return "its pipe closed while it ran"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def work(connection: Connection, order: WorkerOrder) -> None:
    """Be a worker until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops us
    generator: Generator | None = None
    while True:
        try:
            job: ShardJob = connection.recv()
        except EOFError:
            return
        try:
            generator = generator or load_generator(order)
            connection.send(generate_shard(job, generator, connection.send))
        except WentiError as error:
            connection.send(error)
        except Exception as error:
            traceback.print_exc()
            connection.send(WorkerError(f"{type(error).__name__} on {order.device}: {error}"))


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
