"""From a checkpoint to the files of a static graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.engine.batch import Row, pad_rows
from tasks.engine.checkpoint import LoadedCheckpoint, load_checkpoint
from tasks.engine.contract import (
    MODEL_FILE,
    NATIVE_VERSION,
    Contract,
    SpecialTokens,
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
    _refuse(decode_reasons(decode) + model_reasons(loaded, decode))
    _save_graph(loaded, decode, folder)
    contract = _contract(loaded, decode)
    write_contract(contract, folder)
    try_export(folder, contract)
    return contract


def decode_reasons(decode: DecodeSettings) -> list[str]:
    """Say what of these settings the native engine cannot do, whatever the model."""
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
    """Say what of this model the native engine cannot do."""
    config = loaded.model.config
    reasons = []
    if config.hidden_act not in ACTIVATIONS:
        reasons.append(
            f"the model's `hidden_act: {config.hidden_act}` is not available; the native engine "
            f"has {' and '.join(ACTIVATIONS)}"
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


def _refuse(reasons: list[str]) -> None:
    if reasons:
        lines = ["the native engine cannot export this:", *(f"  - {reason}" for reason in reasons)]
        raise ExportError("\n".join(lines))


def _save_graph(loaded: LoadedCheckpoint, decode: DecodeSettings, folder: Path) -> None:
    """Trace the graph and write it; fresh names make the bytes the same each time."""
    paddle = import_paddle()
    from tasks.engine.decode_graph import DecodeGraph

    specs = [
        paddle.static.InputSpec(
            [None if isinstance(size, str) else size for size in spec.shape], spec.dtype, spec.name
        )
        for spec in input_specs(decode)
    ]
    with paddle.utils.unique_name.guard(), quiet():
        graph = DecodeGraph(loaded.model, decode, loaded.special_tokens)
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


def _contract(loaded: LoadedCheckpoint, decode: DecodeSettings) -> Contract:
    config = loaded.model.config
    return Contract(
        engine="native",
        engine_version=NATIVE_VERSION,
        paddle_version=import_paddle().__version__,
        inputs=input_specs(decode),
        outputs=output_specs(decode),
        decode=decode,
        special_tokens=loaded.special_tokens,
        vocab_size=config.vocab_size,
        type_vocab_size=config.type_vocab_size,
        max_positions=config.max_position_embeddings,
        num_sequences=decode.num_return_sequences,
    )


def try_export(folder: Path, contract: Contract) -> None:
    """Run an exported model once, on rows of different length, on the CPU.

    Raises:
        ExportError: it does not do what its contract says.
    """
    settings = PredictSettings(device="cpu", cpu_threads=1)
    rows = made_up_rows(contract)
    session = Session(folder, contract, settings, "cpu")
    generated = session.run(pad_rows(rows, contract.special_tokens.pad))
    if not np.isfinite(generated.scores).all():
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
