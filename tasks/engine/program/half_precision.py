"""Half precision: converting the model's layers in a saved graph to float16.

In float16 are the layers' weights, the inputs and outputs of their matrix products, the caches, and
the operators between these. In float32 remain the sums passed from layer to layer and their
normalization, the output layer with its logits, and the search with its sums and logarithms (partly
float64).

Paddle's own `convert_to_mixed_precision` is not used; decision 15 says what it does to this graph.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.engine.paddle.generations.paddle2 import read_program, write_program
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
"""Increment it when the resulting graph changes, so that old exports are not reused."""

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
"""Operators that are in float16 if any of their inputs or outputs is."""

ANY_TYPE = {"shape"}
"""Operators that accept tensors of any type, because they do not read the elements."""

UNUSED = {"XShape"}
"""Outputs that are only written in training."""


def halve(model_file: Path, params_file: Path) -> None:
    """Convert a saved float32 graph and its weights to float16 in place.

    Raises:
        ExportError: a variable would need both precisions.
        StoreCorruptionError: the file of weights does not belong to the graph.
    """
    program = read_program(model_file)
    weights = halve_program(program)

    def change(name: str, weight: Weight) -> Weight:
        return weight.astype(np.float16) if name in weights else weight

    change_weights(params_file, program, change)
    write_program(program, model_file)


def halve_program(program: Untyped) -> set[str]:
    """Convert a graph in place and return the names of its float16 weights.

    Raises:
        ExportError: a variable would need both precisions.
    """
    halving = _Halving(program)
    for block in program.blocks:
        halving.insert_casts(block)
    return {name for name in halving.halves if halving.variables.is_weight(name)}


class _Halving:
    """Determines what is float16 in a graph: `halves` has the names of these variables."""

    def __init__(self, program: Untyped) -> None:
        self.variables = Variables(program)
        self.half, self.single = float_types()
        self.halves: set[str] = set()
        self._casts = 0
        self._spread([one for block in program.blocks for one in block.ops if not has_block(one)])
        for name in self.halves:
            self.variables.set_type(name, self.half)

    def _spread(self, operators: list[Untyped]) -> None:
        """Propagate float16 from operator to operator until nothing changes."""
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
                    f"the graph cannot be converted to half precision: {min(both)} would need both "
                    "precisions; set `export.use_fp16_decoding: false` and "
                    "`predict.precision: fp32`"
                )

    def is_half(self, operator: Untyped) -> bool:
        """Return whether an operator works in float16."""
        if operator.type == "fc":
            return True
        taken = self.floats(operator.inputs)
        if operator.type == "matmul_v2":  # of attention; the one with a weight computes the logits
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
        """Insert casts of inputs that are in the other precision, once for all operators."""
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
        """Return the inputs of an operator that are not in the precision it works in."""
        if has_block(operator) or operator.type in ANY_TYPE:
            return set()
        wanted = self.half if self.is_half(operator) else self.single
        taken = self.floats(operator.inputs)
        return {name for name in taken if self.variables.type_of(name) != wanted}

    def _cast(self, name: str, block: Untyped, operators: list[Untyped]) -> str:
        """Append an operator that casts a variable; return the name of the result."""
        found = self.variables.type_of(name)
        wanted = self.single if found == self.half else self.half
        # Each result has its own name: Paddle's passes order operators by the variables' names.
        self._casts += 1
        other = f"{name}.cast{self._casts}"
        self.variables.make_like(name, other, wanted, block)
        operators.append(make_cast(name, other, found, wanted))
        return other
