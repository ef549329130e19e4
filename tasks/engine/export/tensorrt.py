"""TensorRT: preparing an export so that TensorRT can run its encoder, and collecting shapes.

TensorRT runs what it can of the graph outside the loop; Paddle runs the loop. A TensorRT engine is
built for a range of shapes of every tensor. Paddle can collect these on any machine by running the
graph without TensorRT: so they are collected on the CPU during export, and stored as a file of the
export (decision 15).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.batch import Row, largest_batches, pad_rows
from tasks.engine.contract import Contract
from tasks.engine.inference.predictor import Predictor
from tasks.engine.inference.session import to_arrays
from tasks.engine.paddle.api import inference_config
from tasks.engine.paddle.generations.paddle2 import read_program, write_program
from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.engine.program.protobuf import Variables, arguments, make_operator, replace_operators
from tasks.findings import Finding

TENSORRT_VERSION = 1
"""Increment it when the graph or the shapes change, so that old exports are not reused."""

SHAPES_FILE = "tensorrt_shapes.pbtxt"
KEY = "predict.use_tensorrt"
LIBRARY = "libnvinfer.so.8"
REMEDY = "install TensorRT 8.5 for CUDA 11 from NVIDIA, or set `predict.use_tensorrt: false`"


@dataclass(frozen=True)
class ShapeRange:
    """The batches that TensorRT engines are built for.

    Attributes:
        rows: maximum rows of a batch.
        tokens: maximum tokens of a row.
        most_tokens: maximum tokens of a batch with several rows, padding included.
    """

    rows: int
    tokens: int
    most_tokens: int

    def corners(self) -> list[tuple[int, int]]:
        """Return the batches whose shapes span all others, each as (rows, tokens per row)."""
        return [(1, 2), *largest_batches(self.rows, self.tokens, self.most_tokens)]


def find_tensorrt_faults() -> list[Finding]:
    """Return why TensorRT cannot be used; fast, because Paddle is not imported."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return [Finding(KEY, f"TensorRT is not installed ({LIBRARY} is not found)", REMEDY)]
    return []


def prepare_for_tensorrt(folder: Path, contract: Contract, shapes: ShapeRange) -> None:
    """Rewrite an export so that TensorRT can run its layers, and write `contract.shapes_file`."""
    model_file = folder / contract.model_file
    program = read_program(model_file)
    split_dense(program)
    write_program(program, model_file)
    collect_shapes(folder, contract, shapes.corners())


def split_dense(program: Untyped) -> None:
    """Replace every `fc` outside the loop by the operators that it consists of.

    Paddle 2.6.2 cannot convert `fc` for TensorRT, which then could not run any layer as a whole.
    """
    block, variables = program.blocks[0], Variables(program)
    operators: list[Untyped] = []
    for number, operator in enumerate(block.ops):
        if operator.type == "fc":
            operators += _parts_of_dense(operator, variables, block, number)
        else:
            operators.append(operator)
    replace_operators(block, operators)


def _parts_of_dense(
    operator: Untyped, variables: Variables, block: Untyped, number: int
) -> list[Untyped]:
    """Return separate operators that compute input weight + bias."""
    taken, given = dict(arguments(operator.inputs)), dict(arguments(operator.outputs))["Out"]
    last = {one.name: one for one in operator.attrs}["in_num_col_dims"].i
    product = f"{given}.product{number}"
    variables.make_like(given, product, variables.type_of(given) or 0, block)
    factors, addends = {"X": taken["Input"], "Y": taken["W"]}, {"X": product, "Y": taken["Bias"]}
    return [
        make_operator("matmul_v2", factors, {"Out": product}, trans_x=False, trans_y=False),
        make_operator("elementwise_add", addends, {"Out": given}, axis=last),
    ]


def collect_shapes(folder: Path, contract: Contract, corners: Iterable[tuple[int, int]]) -> None:
    """Run an export on batches of (rows, tokens) and write the shapes of its tensors to a file."""
    config = inference_config(folder / contract.model_file, folder / contract.params_file)
    config.disable_gpu()
    config.disable_mkldnn()
    config.collect_shape_range_info(str(folder / SHAPES_FILE))
    with quiet():
        predictor = Predictor(import_paddle().inference.create_predictor(config), contract, "cpu")
    special = contract.special_tokens
    for rows, tokens in corners:
        row = Row([special.bos] * tokens, [0] * tokens)
        predictor.run(to_arrays(pad_rows([row] * rows, special.pad), contract))
    del predictor  # its destructor writes the file
