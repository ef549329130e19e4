"""Compiled templates, kept as Python keeps modules: in `__pycache__` beside their sources.

Compiling those of a report takes 0.13 s of CPU, for every run.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """Keeps templates that were compiled with equal options by the same version of Jinja.

    Jinja itself compares the sources and the version of Python. Where files cannot be written,
    templates are kept for this process only, which needs them for both languages of a page.

    Args:
        folder: that of the templates.
        options: the file with the source that chooses how they are compiled.
    """

    def __init__(self, folder: Path, options: Path) -> None:
        decided_by = version("jinja2").encode() + options.read_bytes()
        self._decided_by = hashlib.sha256(decided_by).hexdigest()[:16]
        self._folder = Path(cache_from_source(str(folder / "template.py"))).parent
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is kept of a template."""
        if bucket.key not in self._kept:
            with suppress(OSError):
                self._kept[bucket.key] = self._file(bucket).read_bytes()
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self._kept[bucket.key] = bucket.bytecode_to_string()
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                self._write(self._file(bucket), self._kept[bucket.key])

    def _write(self, file: Path, code: bytes) -> None:
        file.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(code)
            Path(name).chmod(0o644)  # others may use it, as they use compiled modules
            Path(name).replace(file)
        except OSError:
            Path(name).unlink()
            raise

    def _file(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}-{self._decided_by}.{sys.implementation.cache_tag}"
