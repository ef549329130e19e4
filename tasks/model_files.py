"""The files of a model folder, looked at without Paddle: what they lack, and their sha256."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.engine.checkpoint import checkpoint_faults
from tasks.errors import Fault
from tasks.store import file_sha256

KEY = "model.model_name_or_path"
TOKENIZER_FILES = {
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
}
MODEL_SUFFIXES = {".pdparams", ".safetensors", ".json"}


def is_folder_path(name_or_path: str) -> bool:
    """Tell a folder from the name of a model that PaddleNLP downloads (`org/name` is a name)."""
    path = Path(name_or_path).expanduser()
    written_as_path = name_or_path.startswith((".", "/", "~"))
    return written_as_path or path.exists() or ("/" in name_or_path and path.parent.is_dir())


def find_faults(folder: Path) -> list[Fault]:
    """List what a model folder lacks; empty when PaddleNLP can be tried on it."""
    remedy = "give a folder that PaddleNLP's save_pretrained has written"
    where = folder.absolute()
    return [Fault(KEY, f"{where}: {fault}", remedy) for fault in checkpoint_faults(folder)]


def longest_row(folder: Path) -> int | None:
    """Give the most tokens of a row, start token included; None if the config does not tell.

    The start token begins a numbering of its own, so that it needs no position of the source's.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    positions = config.get("max_position_embeddings")
    return positions + 1 if isinstance(positions, int) else None


def hash_model(folder: Path) -> dict[str, str]:
    """Give the sha256 of each file that decides what the model computes."""
    return {
        path.name: file_sha256(path)
        for path in sorted(folder.iterdir())
        if path.name in TOKENIZER_FILES or path.suffix in MODEL_SUFFIXES
    }


def hash_tokenizer(folder: Path) -> dict[str, str]:
    """Give the sha256 of each file that decides how text becomes tokens."""
    paths = (folder / name for name in sorted(TOKENIZER_FILES))
    return {path.name: file_sha256(path) for path in paths if path.is_file()}
