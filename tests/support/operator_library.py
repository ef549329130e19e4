"""The operator of `unified_decoding.cc`: building it, its last inputs, and its expected output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import SpecialTokens

SOURCE = Path(__file__).with_name("unified_decoding.cc")
DUMP_VARIABLE = "WENTI_OPERATOR_DUMP"


def build_operator(folder: Path) -> Path:
    """Compile the operator with Paddle's extension builder in a separate process."""
    code = (
        "import sys, zlib; from paddle.utils.cpp_extension import load;"
        "load('operator', [sys.argv[1]], extra_cxx_cflags=['-O0', '-w'],"
        "build_directory=sys.argv[2])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(SOURCE), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return library_in(folder)


def library_in(folder: Path) -> Path:
    return folder / "operator" / "operator.so"


@dataclass(frozen=True)
class Given:
    """The inputs of the operator's last call."""

    tensors: dict[str, list[NDArray[np.generic]]]
    attributes: dict[str, str]


def read_dump(path: Path) -> Given:
    given = Given({}, {})
    lines = iter(path.read_text().splitlines())
    for line in lines:
        kind, name, *rest = line.split(" ")
        if kind == "attribute":
            given.attributes[name] = rest[0]
            continue
        dtype, *shape = rest
        values = [float.fromhex(value) for value in next(lines).split()]
        array = np.array(values, dtype).reshape([int(size) for size in shape])
        given.tensors.setdefault(name, []).append(array)
    return given


def expected_tokens(
    input_ids: Sequence[int], decode: DecodeSettings, special: SpecialTokens
) -> list[int]:
    """Return the best sequence of a row by the rule stated in `unified_decoding.cc`."""
    ids = set(special.model_dump().values())
    words = [token for token in input_ids if token not in ids]
    length = decode.min_dec_len + len(words) % 5
    sequence = [words[place % len(words)] for place in range(length)] + [special.eos]
    padding = [special.pad] * decode.max_dec_len
    return [*sequence, *padding][: decode.max_dec_len]
