"""Which models and options no engine, or not the native engine, can export, and why."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.config.settings import DecodeSettings
from tasks.engine.models.checkpoint import LoadedCheckpoint
from tasks.engine.paddle.runtime import Untyped
from tasks.errors import ExportError

ACTIVATIONS = ("relu", "gelu")


def decode_reasons(decode: DecodeSettings) -> list[str]:
    """Return what of these settings no engine can do, whatever the model."""
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
    """Return what of this model no engine can do."""
    config, limits = loaded.model.config, loaded.limits
    reasons = []
    if config.hidden_act not in ACTIVATIONS:
        reasons.append(
            f"the model's `hidden_act: {config.hidden_act}` is not available; there are "
            f"{' and '.join(ACTIVATIONS)}"
        )
    if decode.max_dec_len > limits.max_positions:
        reasons.append(
            f"`decode.max_dec_len: {decode.max_dec_len}` is more than the model has positions; "
            f"choose at most {limits.max_positions}"
        )
    if limits.vocab_size < 2 * decode.num_beams and decode.has_beams:
        reasons.append(
            f"`decode.num_beams: {decode.num_beams}` needs a vocabulary of twice as many tokens; "
            f"the model has {limits.vocab_size}"
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
    """Return what `generate` would use: its generation config, then for some the model's."""
    value = getattr(model.generation_config, name, None)
    return getattr(model.config, name, None) if value is None else value


def refuse(engine: str, reasons: Iterable[object]) -> None:
    """Raise an `ExportError` that lists the reasons, if there are any."""
    if lines := [f"  - {reason}" for reason in reasons]:
        raise ExportError("\n".join([f"{engine} cannot export this:", *lines]))
