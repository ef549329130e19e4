"""The fake engine: returns made-up questions at once, and fails on request.

It replaces a real engine (`export.engine: fake`) and needs neither Paddle nor a GPU: to rehearse a
config, a schedule or a recovery. The question of a row is the beginning of its own tokens, so it
depends only on the row. Faults are read from the JSON file given by the environment variable
WENTI_FAKE_FAULTS; see `InjectedFaults`.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.config.settings import DecodeSettings
from tasks.engine.batch import Batch, Generated, Int32, check_generated
from tasks.engine.contract import Contract, SpecialTokens, input_specs, output_specs, write_contract
from tasks.engine.model_files import ModelFiles
from tasks.engine.tokenization.vocabulary import SPECIAL_TOKENS, read_vocabulary
from tasks.errors import OutOfMemoryError

FAKE_VERSION = 1
FAULTS_VARIABLE = "WENTI_FAKE_FAULTS"
MAX_POSITIONS = 1 << 16
FOREVER = 1e6  # seconds


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InjectedFault(_Frozen):
    """What happens to a batch with a certain row.

    Attributes:
        row: `row_digest` of the row.
        kind: a segmentation fault, hanging for ever, a `MemoryError`, output of the wrong shape, or
            NaN scores.
        once: only the first time, in any process.
    """

    row: str
    kind: Literal["crash", "hang", "out_of_memory", "wrong_shape", "not_a_number"]
    once: bool = False


class InjectedFaults(_Frozen):
    """The content of the file given by WENTI_FAKE_FAULTS.

    Attributes:
        rows: the faulty rows.
        padded_tokens_that_fit: larger batches run out of memory; None: no limit.
        seconds_per_batch: how long a batch takes.
        slow_devices: how long a batch takes on certain devices, by name.
    """

    rows: tuple[InjectedFault, ...] = ()
    padded_tokens_that_fit: int | None = None
    seconds_per_batch: float = 0.0
    slow_devices: dict[str, float] = {}


def row_digest(input_ids: Sequence[int] | Int32) -> str:
    """Return the 8 hex digits that identify a row in faults: the CRC-32 of its int32 tokens."""
    return f"{zlib.crc32(np.asarray(input_ids, '<i4').tobytes()):08x}"


def export_fake(checkpoint: Path | ModelFiles, decode: DecodeSettings, folder: Path) -> Contract:
    """Write the `contract.json` of an export without a graph.

    Has the parameters of `export_native`, but reads only the vocabulary of the model.

    Raises:
        ModelError: `vocab.txt` is missing, has changed, or is not a vocabulary of UNIMO.
    """
    ids = _read_vocabulary(checkpoint)
    contract = Contract(
        engine="fake",
        engine_version=FAKE_VERSION,
        paddle_version="none",
        inputs=input_specs(decode),
        outputs=output_specs(decode),
        decode=decode,
        special_tokens=SpecialTokens(
            unk=ids[SPECIAL_TOKENS["unk_token"]],
            pad=ids[SPECIAL_TOKENS["pad_token"]],
            bos=ids[SPECIAL_TOKENS["cls_token"]],
            eos=ids[SPECIAL_TOKENS["mask_token"]],
        ),
        vocab_size=len(ids),
        type_vocab_size=4,
        max_positions=MAX_POSITIONS,
        num_sequences=decode.num_return_sequences,
    )
    write_contract(contract, folder)
    return contract


def _read_vocabulary(model: Path | ModelFiles) -> dict[str, int]:
    files = model if isinstance(model, ModelFiles) else ModelFiles.of_tokenizer(model)
    return read_vocabulary(files)


class FakeEngine:
    """Returns the first tokens of each row."""

    def __init__(self, contract: Contract, faults: InjectedFaults, used: Path) -> None:
        self._contract = contract
        self._faults = faults
        self._rows = {fault.row: fault for fault in faults.rows}
        self._used = used  # faults that happen once leave a file here

    def run(self, batch: Batch) -> Generated:
        """Return the sequences of each row, as `tasks.predict.questions.Engine.run`.

        Raises:
            OutOfMemoryError: by the faults, the batch does not fit.
            BadOutputError: the faults request output of the wrong shape, or NaN scores.
        """
        time.sleep(self._faults.seconds_per_batch)
        limit = self._faults.padded_tokens_that_fit
        if limit is not None and batch.input_ids.size > limit:
            raise OutOfMemoryError(f"{batch.input_ids.size} tokens, {limit} fit")
        rows = [ids[:n] for ids, n in zip(batch.input_ids, batch.seq_len, strict=True)]
        generated = self._disturb(self._generate(rows), rows)
        check_generated(generated, self._contract, len(batch), "the fake engine")
        return generated

    def _generate(self, rows: Sequence[Int32]) -> Generated:
        count, steps = self._contract.num_sequences, self._contract.decode.max_dec_len
        special = self._contract.special_tokens
        tokens = np.full((len(rows), count, steps), special.pad, np.int32)
        for row, sequences in zip(rows, tokens, strict=True):
            for place, sequence in enumerate(sequences):
                words = row[1 + place :][: steps - 1]
                sequence[: len(words)] = words
                sequence[len(words)] = special.eos
        first = [-int(row_digest(row), 16) / (1 << 32) for row in rows]
        scores = np.array(first)[:, None] - np.arange(count)[None, :]
        return Generated(tokens, scores.astype(np.float32))

    def _disturb(self, generated: Generated, rows: Sequence[Int32]) -> Generated:
        for row in rows:
            fault = self._rows.get(row_digest(row))
            if fault is not None and self._is_due(fault):
                generated = DISTURBANCES[fault.kind](generated)
        return generated

    def _is_due(self, fault: InjectedFault) -> bool:
        if not fault.once:
            return True
        try:
            self._used.with_name(f"{self._used.name}.{fault.row}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class FakeDetokenizer:
    """Joins tokens of a vocabulary, without the special ones."""

    def __init__(self, checkpoint: Path | ModelFiles, contract: Contract) -> None:
        ids = _read_vocabulary(checkpoint)
        self._vocabulary = {number: token for token, number in ids.items()}
        self._special = set(contract.special_tokens.model_dump().values())

    def decode(self, output_ids: Sequence[int]) -> str:
        """Return the text, as `tasks.predict.questions.Detokenizer.decode`."""
        words = (self._vocabulary[i] for i in output_ids if i not in self._special)
        return "".join(word.removeprefix("##") for word in words)


def load_fake(contract: Contract, device: str = "cpu") -> FakeEngine:
    """Return an engine with the faults in the file given by WENTI_FAKE_FAULTS, if it is set."""
    name = os.environ.get(FAULTS_VARIABLE)
    if name is None:
        return FakeEngine(contract, InjectedFaults(), Path())
    path = Path(name)
    faults = InjectedFaults.model_validate_json(path.read_bytes())
    seconds = faults.slow_devices.get(device, faults.seconds_per_batch)
    return FakeEngine(contract, faults.model_copy(update={"seconds_per_batch": seconds}), path)


def _crash(_generated: Generated) -> Generated:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("unreachable")


def _hang(_generated: Generated) -> Generated:
    time.sleep(FOREVER)
    raise AssertionError("unreachable")


def _run_out_of_memory(_generated: Generated) -> Generated:
    raise MemoryError("injected fault")


def _lose_a_row(generated: Generated) -> Generated:
    return Generated(generated.tokens[1:], generated.scores[1:])


def _lose_the_numbers(generated: Generated) -> Generated:
    return Generated(generated.tokens, np.full_like(generated.scores, np.nan))


DISTURBANCES: dict[str, Callable[[Generated], Generated]] = {
    "crash": _crash,
    "hang": _hang,
    "out_of_memory": _run_out_of_memory,
    "wrong_shape": _lose_a_row,
    "not_a_number": _lose_the_numbers,
}
