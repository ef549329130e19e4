"""The files of a model folder, looked at without Paddle: which are there, and their sha256."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import Fault
from tasks.store import file_sha256

KEY = "model.model_name_or_path"
TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Each line is one thing that must be there, under one of the names that PaddleNLP gives it.
_NEEDED = (
    ("model_state.pdparams", "model.safetensors"),
    ("config.json", "model_config.json"),
    ("vocab.txt",),
)
_MODEL_FILES = tuple(name for names in _NEEDED for name in names) + TOKENIZER_FILES[1:]


def is_folder_path(name_or_path: str) -> bool:
    """Tell a folder from the name of a model that PaddleNLP downloads (`org/name` is a name)."""
    path = Path(name_or_path).expanduser()
    written_as_path = name_or_path.startswith((".", "/", "~"))
    return written_as_path or path.exists() or ("/" in name_or_path and path.parent.is_dir())


def find_faults(folder: Path) -> list[Fault]:
    """List what a model folder lacks; empty when PaddleNLP can be tried on it."""
    if not folder.is_dir():
        what = "a file, not a folder" if folder.exists() else "no such folder"
        return [Fault(KEY, f"{folder.absolute()}: {what}", "give the folder of a UNIMO checkpoint")]
    return [
        Fault(
            KEY,
            f"{folder} is not a checkpoint: it has no {' or '.join(names)}",
            "give a folder that PaddleNLP's save_pretrained wrote",
        )
        for names in _NEEDED
        if not any((folder / name).is_file() for name in names)
    ]


def hash_model(folder: Path) -> dict[str, str]:
    """Give the sha256 of each file that decides what the model computes."""
    return _hash(folder, _MODEL_FILES)


def hash_tokenizer(folder: Path) -> dict[str, str]:
    """Give the sha256 of each file that decides how text becomes tokens."""
    return _hash(folder, TOKENIZER_FILES)


def _hash(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}
