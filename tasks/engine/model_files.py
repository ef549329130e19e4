"""The files of a model folder: which of them decide a result, and reading exactly those.

A run first hashes a model's files, because they are part of its fingerprints, and loads them later
and in other processes. Everything that is loaded is read through `ModelFiles`, which compares it
with the hashes: a file that was replaced in between is an error, not a wrong result under the
fingerprint of the old file.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ModelError
from tasks.store.local import file_sha256

TOKENIZER_FILES = frozenset(
    {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
)
"""The files that decide how text becomes tokens."""

MODEL_SUFFIXES = {".pdparams", ".safetensors", ".json"}
"""Of the files that decide, in addition to `TOKENIZER_FILES`, what a model computes."""


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model folder as they were when they were hashed.

    Attributes:
        folder: the folder.
        sha256: the hash of each file by its name; no other file is ever read.
    """

    folder: Path
    sha256: Mapping[str, str]

    @classmethod
    def of_model(cls, folder: Path) -> ModelFiles:
        """Return the files that decide what the model in a folder computes, hashed now."""
        return cls(folder, hash_model(folder) if folder.is_dir() else {})

    @classmethod
    def of_tokenizer(cls, folder: Path) -> ModelFiles:
        """Return the files that decide how text becomes tokens, hashed now."""
        return cls(folder, hash_tokenizer(folder))

    def __contains__(self, name: object) -> bool:
        """Return whether the folder had a file of this name."""
        return name in self.sha256

    def read(self, name: str) -> bytes:
        """Return the whole content of a file.

        Raises:
            ModelError: it cannot be read, or has changed.
        """
        with self._readable(name) as file:
            content = file.read()
        self._check(name, hashlib.sha256(content).hexdigest())
        return content

    @contextmanager
    def open(self, name: str) -> Iterator[io.BufferedReader]:
        """Yield a file; what was read from it may be used only after the block.

        Raises:
            ModelError: it cannot be read; at the end of the block, it has changed.
        """
        with self._readable(name) as file:
            try:
                yield file
            except Exception:  # what looks damaged may only have been replaced while it was read
                self._check_open(name, file)
                raise
            self._check_open(name, file)

    @contextmanager
    def copied(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield a temporary folder with copies of those files that exist, for readers by path.

        Raises:
            ModelError: a file cannot be read, or has changed.
        """
        with tempfile.TemporaryDirectory(prefix="wenti-model-") as folder:
            for name in names:
                if name in self:
                    Path(folder, name).write_bytes(self.read(name))
            yield Path(folder)

    def carried(self) -> ModelFiles:
        """Return the same files with their content in memory, for machines without the folder.

        Raises:
            ModelError: a file cannot be read, or has changed.
        """
        contents = {name: self.read(name) for name in self.sha256}
        return _CarriedFiles(self.folder, self.sha256, contents)

    @contextmanager
    def _readable(self, name: str) -> Iterator[io.BufferedReader]:
        path = self.folder / name
        try:
            with _open_regular(path) as file:
                if name not in self:
                    raise self._changed(name)
                yield file
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read ({error.strerror or error}); copy it again from the "
                "original checkpoint"
            ) from error

    def _check_open(self, name: str, file: io.BufferedReader) -> None:
        file.seek(0)
        self._check(name, hashlib.file_digest(file, "sha256").hexdigest())

    def _check(self, name: str, digest: str) -> None:
        if digest != self.sha256[name]:
            raise self._changed(name)

    def _changed(self, name: str) -> ModelError:
        return ModelError(
            f"{self.folder / name} was changed after the run had begun; run again, and replace a "
            "model only between runs"
        )


@dataclass(frozen=True)
class _CarriedFiles(ModelFiles):
    """Files that are read from memory; `folder` is only named in messages."""

    contents: Mapping[str, bytes]

    @contextmanager
    def _readable(self, name: str) -> Iterator[io.BufferedReader]:
        if name not in self:
            raise ModelError(f"{self.folder / name} is missing")
        yield io.BufferedReader(io.BytesIO(self.contents[name]))


def _open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file; never wait for a writer of a FIFO, as `open` would."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return os.fdopen(descriptor, "rb")


def hash_model(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that decides what the model computes, by name.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    return {path.name: file_sha256(path) for path in list_model_files(folder) if path.is_file()}


def list_model_files(folder: Path) -> list[Path]:
    """Return the entries of a model folder that decide what the model computes, sorted."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name in TOKENIZER_FILES or path.suffix in MODEL_SUFFIXES
    ]


def hash_tokenizer(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that decides how text becomes tokens, by name.

    Raises:
        OSError: a file cannot be read.
    """
    paths = (folder / name for name in sorted(TOKENIZER_FILES))
    return {path.name: file_sha256(path) for path in paths if path.is_file()}
