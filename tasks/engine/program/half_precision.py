"""Half precision: a saved graph with the model's layers in float16 and all else as it was.

In float16 are the weights of the layers, what their matrix products take and give, the caches, and
what lies between them. In float32 stay: the sums that go from layer to layer and their
normalisation, the output layer with its logits, and the search with its sums and logarithms (some
of which is float64).

Paddle's own `convert_to_mixed_precision` is not used; decision 15 says what it does to this graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.engine.paddle.api import read_program, write_program
from tasks.engine.paddle.runtime import Untyped
from tasks.engine.program.protobuf import (
    Variables,
    arguments,
    float_types,
    has_block,
    make_cast,
    rename,
    replace_operators,
)
from tasks.engine.program.weights import Weight, change_weights
from tasks.errors import ExportError

HALF_VERSION = 1
"""Raise it whenever another graph comes out: old exports in half precision are then not reused."""

FOLLOWERS = {
    "concat",
    "gelu",
    "relu",
    "reshape2",
    "scatter_nd_add",
    "slice",
    "split",
    "transpose2",
}
"""Operators that are in float16 if anything is that they take or give."""

ANY_TYPE = {"shape"}
"""Operators that take tensors of any type and do not look at their elements."""

UNUSED = {"XShape"}
"""Outputs that are written in training only."""


def halve(model_file: Path, params_file: Path) -> None:
    """Rewrite a saved float32 graph and its weights, which are then the ones in half precision.

    Raises:
        ExportError: a variable would have to be both.
    """
    program = read_program(model_file)
    weights = halve_program(program)

    def change(name: str, weight: Weight) -> Weight:
        return weight.astype(np.float16) if name in weights else weight

    change_weights(params_file, program, change)
    write_program(program, model_file)


def halve_program(program: Untyped) -> set[str]:
    """Rewrite a graph and give the names of the weights that are float16 in it.

    Raises:
        ExportError: a variable would have to be both.
    """
    halving = _Halving(program)
    for block in program.blocks:
        halving.insert_casts(block)
    return {name for name in halving.halves if halving.variables.is_weight(name)}


class _Halving:
    """What is float16 in a graph: `halves`, the names of its variables."""

    def __init__(self, program: Untyped) -> None:
        self.variables = Variables(program)
        self.half, self.single = float_types()
        self.halves: set[str] = set()
        self._casts = 0
        self._spread([one for block in program.blocks for one in block.ops if not has_block(one)])
        for name in self.halves:
            self.variables.set_type(name, self.half)

    def _spread(self, operators: list[Untyped]) -> None:
        """Go from one operator to the next until nothing more becomes float16."""
        count = -1
        while count != len(self.halves):
            count = len(self.halves)
            for operator in filter(self.is_half, operators):
                taken = self.floats(operator.inputs)
                self.halves |= {name for name in taken if self.variables.is_weight(name)}
                self.halves |= self.floats(operator.outputs)
        for operator in operators:
            if not self.is_half(operator) and (both := self.halves & self.floats(operator.outputs)):
                raise ExportError(
                    f"the graph cannot be put into half precision: {min(both)} would have to be in "
                    "both; set `export.use_fp16_decoding: false` and `predict.precision: fp32`"
                )

    def is_half(self, operator: Untyped) -> bool:
        """Return whether an operator works in float16."""
        if operator.type == "fc":
            return True
        taken = self.floats(operator.inputs)
        if operator.type == "matmul_v2":  # of attention; the one with a weight gives the logits
            return not any(map(self.variables.is_weight, taken))
        touched = taken | self.floats(operator.outputs)
        return operator.type in FOLLOWERS and not self.halves.isdisjoint(touched)

    def floats(self, slots: Untyped) -> set[str]:
        """Return the float16 and float32 variables among an operator's inputs or outputs."""
        return {
            name
            for slot, name in arguments(slots)
            if slot not in UNUSED and self.variables.type_of(name) in (self.half, self.single)
        }

    def insert_casts(self, block: Untyped) -> None:
        """Cast what an operator takes in the other precision, once for all who need it."""
        operators: list[Untyped] = []
        cast: dict[str, str] = {}
        for operator in block.ops:
            for name in sorted(self._unfit(operator)):
                if name not in cast:
                    cast[name] = self._cast(name, block, operators)
                rename(operator.inputs, name, cast[name])
            operators.append(operator)
            for _slot, name in arguments(operator.outputs):
                cast.pop(name, None)  # it has changed
        replace_operators(block, operators)

    def _unfit(self, operator: Untyped) -> set[str]:
        """Return what an operator takes in the other precision than the one it works in."""
        if has_block(operator) or operator.type in ANY_TYPE:
            return set()
        wanted = self.half if self.is_half(operator) else self.single
        taken = self.floats(operator.inputs)
        return {name for name in taken if self.variables.type_of(name) != wanted}

    def _cast(self, name: str, block: Untyped, operators: list[Untyped]) -> str:
        """Append the operator that casts a variable; return the other's name."""
        found = self.variables.type_of(name)
        wanted = self.single if found == self.half else self.half
        # A name of its own for each: Paddle's passes order operators by the variables' names.
        self._casts += 1
        other = f"{name}.cast{self._casts}"
        self.variables.make_like(name, other, wanted, block)
        operators.append(make_cast(name, other, found, wanted))
        return other
