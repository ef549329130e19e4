"""Tracing and saving a decode graph: files, contract, and a trial run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import pad_rows, probe_rows
from tasks.engine.contract import Contract, TensorSpec
from tasks.engine.inference.session import Session
from tasks.engine.models.checkpoint import LoadedCheckpoint
from tasks.engine.paddle.api import save_layer
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.errors import ExportError


def save_graph(
    make_graph: Callable[[], Untyped], inputs: Iterable[TensorSpec], model_file: Path
) -> None:
    """Trace the layer that `make_graph()` returns; write `model_file`, with the weights beside it.

    `make_graph` is called inside `unique_name.guard()`, so that the bytes are reproducible.
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
        save_layer(graph, specs, model_file)


def make_contract(
    loaded: LoadedCheckpoint,
    decode: DecodeSettings,
    **of_engine: Any,  # noqa: ANN401 pydantic checks them
) -> Contract:
    """Return the contract of an exported model; `of_engine` are the fields its engine decides."""
    limits = loaded.limits
    return Contract(
        paddle_version=import_paddle().__version__,
        decode=decode,
        special_tokens=loaded.special_tokens,
        vocab_size=limits.vocab_size,
        type_vocab_size=limits.type_vocab_size,
        max_positions=limits.max_positions,
        num_sequences=decode.num_return_sequences,
        **of_engine,
    )


def try_export(folder: Path, contract: Contract, device: str = "cpu") -> None:
    """Run an exported model once, on rows of different lengths.

    Raises:
        ExportError: the output is not what the contract says.
    """
    settings = PredictSettings(devices=(device,), cpu_threads=1)
    rows = probe_rows(contract)
    session = Session(folder, contract, settings, device)
    generated = session.run(pad_rows(rows, contract.special_tokens.pad))
    if contract.has_scores and not np.isfinite(generated.scores).all():
        raise ExportError(f"{folder}: the exported model returns scores that are not finite")
