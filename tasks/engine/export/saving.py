"""Tracing and saving a decode graph: files, contract, and a trial run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import pad_rows, probe_rows
from tasks.engine.contract import (
    MODEL_FILE,
    Contract,
    TensorSpec,
)
from tasks.engine.inference.session import Session
from tasks.engine.models.checkpoint import LoadedCheckpoint
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.engine.program.protobuf import read_program, write_program
from tasks.errors import ExportError


def save_graph(
    make_graph: Callable[[], Untyped], inputs: Iterable[TensorSpec], folder: Path
) -> None:
    """Trace the layer that `make_graph()` gives and write it into `folder`.

    It is called where fresh names make the bytes the same each time.
    """
    paddle = import_paddle()
    specs = [
        paddle.static.InputSpec(
            [None if isinstance(size, str) else size for size in spec.shape], spec.dtype, spec.name
        )
        for spec in inputs
    ]
    with paddle.utils.unique_name.guard(), quiet():
        graph = make_graph()
        graph.eval()
        graph = paddle.jit.to_static(graph, input_spec=specs, full_graph=True)
        paddle.jit.save(graph, str(folder / MODEL_FILE.removesuffix(".pdmodel")))
    (folder / MODEL_FILE).with_suffix(".pdiparams.info").unlink(missing_ok=True)
    _make_reproducible(folder / MODEL_FILE)


def _make_reproducible(model_file: Path) -> None:
    """Take out of a saved graph what depends on the process and the folder that made it.

    Paddle notes with each operator the Python stack that created it, with paths and line numbers,
    and orders attributes, and what the loop reads and writes, as a hash table has them.
    """
    program = read_program(model_file)
    for block in program.blocks:
        for operator in block.ops:
            kept = [attr for attr in operator.attrs if attr.name != "op_callstack"]
            del operator.attrs[:]
            operator.attrs.extend(sorted(kept, key=lambda attr: attr.name))
            if operator.type == "while":
                for variables in (*operator.inputs, *operator.outputs):
                    variables.arguments.sort()
    write_program(program, model_file)


def make_contract(
    loaded: LoadedCheckpoint,
    decode: DecodeSettings,
    **of_engine: Any,  # noqa: ANN401 pydantic checks them
) -> Contract:
    """Give the contract of a checkpoint's export, with what its engine decides."""
    config = loaded.model.config
    return Contract(
        paddle_version=import_paddle().__version__,
        decode=decode,
        special_tokens=loaded.special_tokens,
        vocab_size=config.vocab_size,
        type_vocab_size=config.type_vocab_size,
        max_positions=config.max_position_embeddings,
        num_sequences=decode.num_return_sequences,
        **of_engine,
    )


def try_export(folder: Path, contract: Contract, device: str = "cpu") -> None:
    """Run an exported model once, on rows of different length.

    Raises:
        ExportError: it does not do what its contract says.
    """
    settings = PredictSettings(devices=(device,), cpu_threads=1)
    rows = probe_rows(contract)
    session = Session(folder, contract, settings, device)
    generated = session.run(pad_rows(rows, contract.special_tokens.pad))
    if contract.has_scores and not np.isfinite(generated.scores).all():
        raise ExportError(f"{folder}: the exported model gives scores that are not finite")
