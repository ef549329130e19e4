"""Why a model or an option cannot be exported, by any engine or by the native engine."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.config.settings import DecodeSettings
from tasks.engine.models.checkpoint import LoadedCheckpoint
from tasks.engine.paddle.runtime import Untyped
from tasks.errors import ExportError

ACTIVATIONS = ("relu", "gelu")


def decode_reasons(decode: DecodeSettings) -> list[str]:
    """Return why no engine can use these settings, with any model."""
    try:
        powers = [((n + 5) / 6) ** decode.length_penalty for n in (0, decode.max_dec_len)]
    except OverflowError:
        powers = [0.0]
    if 0.0 in powers and decode.has_beams:
        return [
            f"`decode.length_penalty: {decode.length_penalty}` exceeds the range of floating-point "
            "numbers; choose one near 1"
        ]
    return []


def model_reasons(loaded: LoadedCheckpoint, decode: DecodeSettings) -> list[str]:
    """Return why no engine can export this model with these settings."""
    config, limits = loaded.model.config, loaded.limits
    reasons = []
    if config.hidden_act not in ACTIVATIONS:
        reasons.append(
            f"the model's `hidden_act: {config.hidden_act}` is not supported; supported are "
            f"{' and '.join(ACTIVATIONS)}"
        )
    if decode.max_dec_len > limits.max_positions:
        reasons.append(
            f"`decode.max_dec_len: {decode.max_dec_len}` exceeds the model's number of positions; "
            f"choose at most {limits.max_positions}"
        )
    if limits.vocab_size < 2 * decode.num_beams and decode.has_beams:
        reasons.append(
            f"`decode.num_beams: {decode.num_beams}` needs a vocabulary of twice as many tokens; "
            f"the model has {limits.vocab_size}"
        )
    return reasons + _generation_reasons(loaded.model) + _clashes(loaded.model, decode)


def _generation_reasons(model: Untyped) -> list[str]:
    """Return the options of `generate` that a model sets and the graph does not support."""
    plain = {
        "num_beam_groups": (1, None),
        "no_repeat_ngram_size": (0, None),
        "forced_bos_token_id": (None,),
        "forced_eos_token_id": (None,),
    }
    found = {name: _generation_option(model, name) for name in plain}
    return [
        f"the model sets `{name}: {value}` for generation, which is not supported; remove it from "
        "its generation_config.json or config.json"
        for name, value in found.items()
        if value not in plain[name]
    ]


def _clashes(model: Untyped, decode: DecodeSettings) -> list[str]:
    """Return the options of `generate` that a model sets but `decode` overrides by its default."""
    names = ["repetition_penalty", *(["early_stopping"] if decode.has_beams else [])]
    usual = DecodeSettings()
    found = {name: _generation_option(model, name) for name in names}
    return [
        f"the model sets `{name}: {value}` for generation; set it in `decode.{name}` too, or "
        "remove it from the model's generation_config.json or config.json"
        for name, value in found.items()
        if value not in (None, getattr(usual, name))
        and getattr(decode, name) == getattr(usual, name)
    ]


def _generation_option(model: Untyped, name: str) -> Untyped:
    """Return the value that `generate` uses: of the generation config or, for some, the model's."""
    value = getattr(model.generation_config, name, None)
    return getattr(model.config, name, None) if value is None else value


def refuse(engine: str, reasons: Iterable[object]) -> None:
    """Raise an `ExportError` that lists the reasons, if there are any."""
    if lines := [f"  - {reason}" for reason in reasons]:
        raise ExportError("\n".join([f"{engine} cannot export this:", *lines]))
