"""From a checkpoint to the files of a static graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.engine.batch import Row, pad_rows
from tasks.engine.checkpoint import LoadedCheckpoint, load_checkpoint
from tasks.engine.contract import (
    MODEL_FILE,
    NATIVE_VERSION,
    Contract,
    SpecialTokens,
    TensorSpec,
    input_specs,
    output_specs,
    write_contract,
)
from tasks.engine.runtime import Untyped, import_paddle, quiet
from tasks.engine.session import Session
from tasks.errors import ExportError
from tasks.settings import DecodeSettings, PredictSettings

ACTIVATIONS = ("relu", "gelu")


def export_native(
    checkpoint: Path, decode: DecodeSettings, folder: Path, trust_checkpoint: bool = False
) -> Contract:
    """Write the checkpoint with its search as one static graph, and try the result.

    Args:
        checkpoint: folder of a UNIMO checkpoint.
        decode: the search, which becomes part of the graph.
        folder: an existing, empty folder: it gets the model, its weights and `contract.json`.
        trust_checkpoint: load weights that could run code.

    Raises:
        ModelError: the checkpoint cannot be used at all.
        ExportError: the native engine cannot do this; lists every reason.
    """
    loaded = load_checkpoint(checkpoint, trust_checkpoint)
    refuse("the native engine", decode_reasons(decode) + model_reasons(loaded, decode))
    save_graph(lambda: _make_graph(loaded, decode), input_specs(decode), folder)
    contract = make_contract(
        loaded,
        decode,
        engine="native",
        engine_version=NATIVE_VERSION,
        inputs=input_specs(decode),
        outputs=output_specs(decode),
    )
    write_contract(contract, folder)
    try_export(folder, contract)
    return contract


def decode_reasons(decode: DecodeSettings) -> list[str]:
    """Say what of these settings no engine can do, whatever the model."""
    try:
        powers = [((n + 5) / 6) ** decode.length_penalty for n in (0, decode.max_dec_len)]
    except OverflowError:
        powers = [0.0]
    if 0.0 in powers and decode.has_beams:
        return [
            f"`decode.length_penalty: {decode.length_penalty}` leaves the range of floating-point "
            "numbers; choose one near 1"
        ]
    return []


def model_reasons(loaded: LoadedCheckpoint, decode: DecodeSettings) -> list[str]:
    """Say what of this model no engine can do."""
    config = loaded.model.config
    reasons = []
    if config.hidden_act not in ACTIVATIONS:
        reasons.append(
            f"the model's `hidden_act: {config.hidden_act}` is not available; there are "
            f"{' and '.join(ACTIVATIONS)}"
        )
    if decode.max_dec_len > config.max_position_embeddings:
        reasons.append(
            f"`decode.max_dec_len: {decode.max_dec_len}` is more than the model has positions; "
            f"choose at most {config.max_position_embeddings}"
        )
    if config.vocab_size < 2 * decode.num_beams and decode.has_beams:
        reasons.append(
            f"`decode.num_beams: {decode.num_beams}` needs a vocabulary of twice as many tokens; "
            f"the model has {config.vocab_size}"
        )
    return reasons + _generation_reasons(loaded.model) + _clashes(loaded.model, decode)


def _generation_reasons(model: Untyped) -> list[str]:
    """Name the options of `generate` that a checkpoint sets and that the graph has not."""
    plain = {
        "num_beam_groups": (1, None),
        "no_repeat_ngram_size": (0, None),
        "forced_bos_token_id": (None,),
        "forced_eos_token_id": (None,),
    }
    found = {name: _generation_option(model, name) for name in plain}
    return [
        f"the checkpoint sets `{name}: {value}` for generation, which is not available; take it "
        "out of its generation_config.json or config.json"
        for name, value in found.items()
        if value not in plain[name]
    ]


def _clashes(model: Untyped, decode: DecodeSettings) -> list[str]:
    """Name what a checkpoint sets for `generate` and `decode`, which wins, leaves as usual."""
    names = ["repetition_penalty", *(["early_stopping"] if decode.has_beams else [])]
    usual = DecodeSettings()
    found = {name: _generation_option(model, name) for name in names}
    return [
        f"the checkpoint sets `{name}: {value}` for generation; set it in `decode.{name}` too, or "
        "take it out of the checkpoint's generation_config.json or config.json"
        for name, value in found.items()
        if value not in (None, getattr(usual, name))
        and getattr(decode, name) == getattr(usual, name)
    ]


def _generation_option(model: Untyped, name: str) -> Untyped:
    """Give what `generate` would use: its generation config, then for some the model's."""
    value = getattr(model.generation_config, name, None)
    return getattr(model.config, name, None) if value is None else value


def refuse(engine: str, reasons: Iterable[object]) -> None:
    """Raise an `ExportError` that lists the reasons, if there are any."""
    if lines := [f"  - {reason}" for reason in reasons]:
        raise ExportError("\n".join([f"{engine} cannot export this:", *lines]))


def _make_graph(loaded: LoadedCheckpoint, decode: DecodeSettings) -> Untyped:
    from tasks.engine.decode_graph import DecodeGraph

    return DecodeGraph(loaded.model, decode, loaded.special_tokens)


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
    from paddle.base.proto import framework_pb2

    program = framework_pb2.ProgramDesc.FromString(model_file.read_bytes())
    for block in program.blocks:
        for operator in block.ops:
            kept = [attr for attr in operator.attrs if attr.name != "op_callstack"]
            del operator.attrs[:]
            operator.attrs.extend(sorted(kept, key=lambda attr: attr.name))
            if operator.type == "while":
                for variables in (*operator.inputs, *operator.outputs):
                    variables.arguments.sort()
    model_file.write_bytes(program.SerializeToString(deterministic=True))


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
    rows = made_up_rows(contract)
    session = Session(folder, contract, settings, device)
    generated = session.run(pad_rows(rows, contract.special_tokens.pad))
    if contract.has_scores and not np.isfinite(generated.scores).all():
        raise ExportError(f"{folder}: the exported model gives scores that are not finite")


def made_up_rows(contract: Contract) -> list[Row]:
    """Give a few rows of made-up tokens, the longest as long as the model allows up to 32."""
    special = contract.special_tokens
    longest = min(32, contract.longest_row)
    lengths = sorted({2, 5, longest} & set(range(2, longest + 1)))
    words = [token for token in range(contract.vocab_size) if token not in _ids(special)]
    return [
        Row(
            [words[place * 7 % len(words)] for place in range(length - 1)] + [special.bos],
            [0] * (length - 1) + [1 % contract.type_vocab_size],
        )
        for length in lengths
    ]


def _ids(special: SpecialTokens) -> set[int]:
    return {special.unk, special.pad, special.bos, special.eos}
