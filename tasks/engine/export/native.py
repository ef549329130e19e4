"""The native export: from a model checkpoint to the files of a static graph."""

from __future__ import annotations

from pathlib import Path

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import (
    NATIVE_VERSION,
    Contract,
    input_specs,
    output_specs,
    write_contract,
)
from tasks.engine.export.requirements import decode_reasons, model_reasons, refuse
from tasks.engine.export.saving import make_contract, save_graph, try_export
from tasks.engine.model_files import ModelFiles
from tasks.engine.models.checkpoint import LoadedCheckpoint, load_checkpoint
from tasks.engine.paddle.runtime import Untyped


def export_native(checkpoint: Path | ModelFiles, decode: DecodeSettings, folder: Path) -> Contract:
    """Write a model with its search as one static graph, and try the result.

    Args:
        checkpoint: the model, a folder or its files as they were hashed.
        decode: the search, which becomes part of the graph.
        folder: an existing, empty folder: it gets the model, its weights and `contract.json`.

    Raises:
        ModelError: the model cannot be loaded, or has changed.
        ExportError: the native engine cannot export this; lists every reason.
    """
    loaded = load_checkpoint(checkpoint)
    refuse("the native engine", decode_reasons(decode) + model_reasons(loaded, decode))
    contract = make_contract(
        loaded,
        decode,
        engine="native",
        engine_version=NATIVE_VERSION,
        inputs=input_specs(decode),
        outputs=output_specs(decode),
    )
    save_graph(lambda: _make_graph(loaded, decode), contract.inputs, folder / contract.model_file)
    write_contract(contract, folder)
    try_export(folder, contract)
    return contract


def _make_graph(loaded: LoadedCheckpoint, decode: DecodeSettings) -> Untyped:
    from tasks.engine.generation.decode_graph import DecodeGraph

    special = loaded.special_tokens
    return DecodeGraph(loaded.family.make_network(loaded.model, special), decode, special)
