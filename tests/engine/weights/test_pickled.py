"""The interpreter of `paddle.save`'s files, compared with `paddle.load`, and attacked."""

from __future__ import annotations

import collections
import io
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.paddle.runtime import Untyped, import_paddle
from tasks.engine.weights.interpreter import PickleError
from tasks.engine.weights.pickled import Array, read_pickled

PROTOCOLS = (2, 3, 4)


def read(content: bytes) -> dict[str, Array]:
    return dict(read_pickled(io.BytesIO(content)))


def is_same(found: dict[str, Array], expected: dict[str, Array]) -> bool:
    return found.keys() == expected.keys() and all(
        (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        for one, other in ((found[name], expected[name]) for name in found)
    )


def tensors() -> dict[str, Untyped]:
    """Return tensors of every dtype that weights may have, of 0 to 3 dimensions."""
    paddle = import_paddle()
    paddle.seed(1)
    values = paddle.randn([2, 3, 5])
    dtypes = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
    shaped = {"scalar": paddle.to_tensor(0.5), "row": values[0, 0], "matrix": values[0].t()}
    return {name: values.astype(name) for name in dtypes} | shaped


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["state dict", "nested", "arrays", "ordered"])
def test_what_paddle_save_writes_is_read_as_paddle_load_reads_it(
    tmp_path: Path, protocol: int, kind: str
) -> None:
    paddle, path = import_paddle(), str(tmp_path / "model_state.pdparams")
    content: Any = tensors()
    if kind == "nested":  # then Paddle writes a tuple of name and array for each tensor
        content["optimizer"] = {"moment": content["row"]}
    elif kind == "arrays":
        content = {name: tensor.numpy() for name, tensor in content.items()}
        content["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    elif kind == "ordered":
        content = collections.OrderedDict(content)
    paddle.save(content, path, protocol=protocol)
    expected = paddle.load(path, return_numpy=True)
    expected.pop("optimizer", None)
    assert is_same(read(Path(path).read_bytes()), expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_that_paddle_save_divided_are_joined(tmp_path: Path, protocol: int) -> None:
    whole = np.arange(20, dtype=np.float32).reshape(4, 5)
    parts = {f"w@@.{number}": whole.ravel()[7 * number :][:7] for number in range(3)}
    layout = {"w": {"OriginShape": whole.shape, "slices": list(parts)}}
    path = tmp_path / "model_state.pdparams"
    content = {"a": whole[0], **parts, "UnpackBigParamInfor@@": layout}
    path.write_bytes(pickle.dumps(content, protocol))
    expected = import_paddle().load(str(path), return_numpy=True)
    assert is_same(read(path.read_bytes()), expected)
    assert expected["w"].shape == (4, 5)


def test_what_other_versions_of_numpy_write_is_read() -> None:
    content = pickle.dumps({"w": np.ones(3, np.float32)}, 3)
    newer = content.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert newer != content
    assert is_same(read(newer), {"w": np.ones(3, np.float32)})


# ---- attacks


class Reduced:
    """An object whose pickle calls a function."""

    def __init__(self, function: object, *args: object, state: object = None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:  # noqa: ANN401 a tuple of two or three
        return self.reduced


RECONSTRUCT = np.ones(1).__reduce__()[0]
FLOAT = np.dtype("f4")


def hidden(attack: object) -> list[object]:
    """Return values with an attack in each of the places where a file can have it."""
    return [
        attack,
        {"w": attack},
        {"w": np.array([attack], dtype=object)},
        {"w": ("name", attack)},
        {"a": np.ones(2), "StructuredToParameterName@@": {"a": attack}},
        {"UnpackBigParamInfor@@": attack},
        collections.OrderedDict(w=[{"x": (attack,)}]),
    ]


@pytest.mark.parametrize("protocol", [0, 1, *PROTOCOLS, 5])
def test_nothing_in_a_file_is_called(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "harm"
    for content in hidden(Reduced(open, str(victim), "w")):
        with pytest.raises(PickleError):
            read(pickle.dumps(content, protocol))
    assert not victim.exists()


def dtype(*state: object) -> Reduced:
    return Reduced(np.dtype, "f4", False, True, state=state)


def array(*state: object) -> Reduced:
    return Reduced(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, *state))


@pytest.mark.parametrize(
    "attack",
    [
        Reduced(eval, "1"),
        Reduced(getattr, "text", "join"),
        Reduced(np.load, "x"),
        Reduced(np.dtype, "O", False, True),
        Reduced(np.dtype, [("a", "f4")], False, True),
        Reduced(np.dtype, "V8", False, True),
        dtype(3, "|", None, ("a",), {"a": (FLOAT, 0)}, 4, 1, 0),
        dtype(3, "<", None, None, None, 1 << 40, 1, 63),
        dtype(3, "<", (FLOAT, (1 << 40,)), None, None, -1, -1, 0),
        dtype("made up"),
        array((1 << 40,), FLOAT, False, b"1234"),
        array((1 << 65,), FLOAT, False, b"1234"),
        array((-1, -1), FLOAT, False, b"1234"),
        array((1,), FLOAT, False, ["1234"]),
        array((1,), "f4", False, b"1234"),
        array((1,) * 40, FLOAT, False, b"1234"),
        Reduced(RECONSTRUCT, np.ndarray, (0,), b"b"),
        Reduced(RECONSTRUCT, np.memmap, (0,), b"b"),
        Reduced(np.ndarray, (1 << 40,)),
        Reduced(collections.OrderedDict, [("a", 1)]),
        Reduced(tuple, "abc"),
    ],
    ids=lambda attack: re.sub(" at 0x[0-9a-f]+", "", repr(attack.reduced))[:70],
)
def test_only_plain_arrays_are_built(attack: Reduced) -> None:
    with pytest.raises(PickleError):
        read(pickle.dumps({"w": attack}, 4))


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        opcodes(),
        opcodes(b"}", b"cbuiltins\nopen\n", b"X\x01\0\0\0wb"),
        opcodes(b"cnumpy\ndtype\n", b"}", b"b"),  # a state for a function of the interpreter
        opcodes(b"cnumpy\nndarray\n", b")", b"\x81"),
        opcodes(b"}", b"(", b"K\x01", b"K\x02", b"u"),
        opcodes(b"}", b"(", b"u", b"u"),
        opcodes(b"]", b"0"),
        opcodes(b"h\x05"),
        opcodes(b"\x82\x01"),  # copyreg's extensions
        opcodes(b"Pid\n"),
        opcodes(b"]", b"r" + struct.pack("<I", 0xFFFFFFFF)),  # a memo of 32 GiB in CPython
        opcodes(b"\x8e" + struct.pack("<Q", 1 << 60)),
        opcodes(b"}", b"}", b"K\x01", b"s"),
    ],
)
def test_made_up_operations_are_refused(content: bytes) -> None:
    with pytest.raises(PickleError):
        read(content)


WHOLE = pickle.dumps({"w": np.ones((2, 2), np.float32), "n": ("x", np.zeros(1)), "t": [1, {}]}, 4)


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(WHOLE)),
)
def test_any_damage_is_refused_or_gives_arrays(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place] = byte
    for damaged in (bytes(content), bytes(content)[:length]):
        try:
            found = read(damaged)
        except PickleError:
            continue
        assert all(type(array) is np.ndarray for array in found.values())
