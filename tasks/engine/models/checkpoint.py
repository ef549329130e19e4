"""Loading a UNIMO checkpoint from a folder, or saying what is wrong with the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.contract import SpecialTokens
from tasks.engine.models.safe_pickle import check_weights
from tasks.engine.paddle.runtime import Untyped, import_paddle, import_paddlenlp, quiet
from tasks.errors import ModelError

CONFIG_FILES = ("config.json", "model_config.json")
"""Today's name and the one of PaddleNLP before 2.5."""

WEIGHT_FILES = (
    "model_state.pdparams",
    "model_state.pdparams.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
)
VOCAB_FILE = "vocab.txt"

LANGUAGE_MODELS = ("UNIMOLMHeadModel", "UNIMOForMaskedLM", "UNIMOForConditionalGeneration")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory: PaddleNLP's `UNIMOLMHeadModel` and the ids that search needs."""

    model: Untyped
    special_tokens: SpecialTokens


def load_checkpoint(folder: Path, trust_checkpoint: bool = False) -> LoadedCheckpoint:
    """Load the `UNIMOLMHeadModel` in `folder`, weights in float32, on the CPU.

    Weights that could run code are loaded only with `trust_checkpoint`.

    Raises:
        ModelError: the folder holds no usable UNIMO checkpoint.
    """
    faults = checkpoint_faults(folder)
    if faults:
        raise _unusable(folder, faults)
    if not trust_checkpoint:
        check_weights(folder)
    transformers = import_paddlenlp().transformers
    import_paddle().set_device("cpu")
    with _loading(folder, "the model"):
        model = transformers.UNIMOLMHeadModel.from_pretrained(str(folder), dtype="float32")
        stored = _stored_names(folder)
    with _loading(folder, f"the tokenizer ({VOCAB_FILE} with a token, a tab and its id a line)"):
        tokenizer = transformers.UNIMOTokenizer.from_pretrained(str(folder))
    faults = _model_faults(model, tokenizer, stored)
    if faults:
        raise _unusable(folder, faults)
    model.eval()
    return LoadedCheckpoint(model, _special_tokens(model, tokenizer))


@contextmanager
def _loading(folder: Path, part: str) -> Iterator[None]:
    """Turn whatever PaddleNLP and its parts raise while loading into a `ModelError`."""
    try:
        with quiet():
            yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _unusable(folder, [f"PaddleNLP cannot load {part}: {lines[-1]}"]) from error


def checkpoint_faults(folder: Path) -> list[str]:
    """Say what is wrong with the folder as far as that shows without loading the model."""
    if not folder.exists():
        return ["there is no such folder"]
    if not folder.is_dir():
        return ["it is a file, not a folder"]
    faults = []
    for names in (CONFIG_FILES, WEIGHT_FILES, (VOCAB_FILE,)):
        if not any((folder / name).is_file() for name in names):
            faults.append(f"{' or '.join(names)} is missing")
    return faults + _config_faults(folder)


def _config_faults(folder: Path) -> list[str]:
    path = next((folder / name for name in CONFIG_FILES if (folder / name).is_file()), None)
    if path is None:
        return []
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{path.name} cannot be read as JSON ({error})"]
    found = _architecture(config)
    if found in LANGUAGE_MODELS:
        return []
    return [f"{path.name} is for {found or 'an unnamed model'}, not for UNIMOLMHeadModel"]


def _architecture(config: object) -> str | None:
    """Give the class that a `config.json` or an older `model_config.json` names."""
    if not isinstance(config, dict):
        return None
    names = config.get("architectures") or [config.get("init_class")]
    return str(names[0]) if isinstance(names, list) and names and names[0] else None


def _stored_names(folder: Path) -> set[str]:
    """Give the names of the weights in the folder."""
    path = next(folder / name for name in WEIGHT_FILES if (folder / name).is_file())
    if path.name.endswith(".index.json"):
        return set(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="np") as weights:
            return set(weights.keys())
    return set(import_paddle().load(str(path), return_numpy=True))


def _model_faults(model: Untyped, tokenizer: Untyped, stored: set[str]) -> list[str]:
    """Say what PaddleNLP let pass: weights left random, a vocabulary of another model."""
    faults = []
    tied = {"lm_head.decoder_weight"}
    missing = [
        name
        for name in model.state_dict()
        if not {name, name.removeprefix("unimo.")} & stored and name not in tied
    ]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        faults.append(f"{len(missing)} weights are missing: {shown}")
    size, words = model.config.vocab_size, len(tokenizer.vocab)
    if size < words:  # more is fine: matrices are sometimes padded
        faults.append(f"the model has {size} tokens but {VOCAB_FILE} has {words}")
    faults += [
        f"{VOCAB_FILE} has no {token}"
        for token in (tokenizer.cls_token, tokenizer.sep_token, tokenizer.mask_token)
        if token not in tokenizer.vocab.token_to_idx
    ]
    return faults


def _special_tokens(model: Untyped, tokenizer: Untyped) -> SpecialTokens:
    """Give the ids that `generate` uses when called as PaddleNLP's example calls it.

    The example passes the tokenizer's mask token for eos; the others come from the config.
    """
    config = model.config
    return SpecialTokens(
        unk=config.unk_token_id,
        pad=config.pad_token_id,
        bos=config.bos_token_id,
        eos=tokenizer.mask_token_id,
    )


def _unusable(folder: Path, faults: list[str]) -> ModelError:
    lines = [f"{folder} is not a usable UNIMO checkpoint:", *(f"  - {fault}" for fault in faults)]
    lines.append("set `model.model_name_or_path` to a folder that `save_pretrained` has written")
    return ModelError("\n".join(lines))
