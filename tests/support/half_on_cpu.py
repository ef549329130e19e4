"""Simulation of half precision on the CPU: float16 graphs with their operators in float32.

Paddle has no float16 CPU kernels for most operators. Here, a float16 operator becomes a float32 one
whose inputs are float16 numbers and whose result is rounded to float16, as on a GPU, whose kernels
also accumulate in float32. This shows the effect of rounding on texts and scores without a GPU, but
not the speed. Wenti itself rejects half precision on the CPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.config.settings import PredictSettings
from tasks.engine.batch import Row
from tasks.engine.contract import Contract, read_contract, write_contract
from tasks.engine.export.equivalence import Reproduction, check_equivalence
from tasks.engine.paddle.generations.paddle2 import read_program, write_program
from tasks.engine.paddle.runtime import Untyped
from tasks.engine.program.protobuf import (
    Variables,
    arguments,
    float_types,
    has_block,
    make_cast,
    make_operator,
    rename,
    replace_operators,
)

SPLITTER = 2.0**13 + 1
"""24 binary digits of float32 less 11 of float16 (T. J. Dekker, Numer. Math. 18, 1971)."""


def make_runnable_on_cpu(half: Path, folder: Path) -> Contract:
    """Write the export in `half` to `folder` so that the CPU can run it; return its contract."""
    shutil.copytree(half, folder, dirs_exist_ok=True)
    contract = read_contract(half).model_copy(update={"precision": None})
    write_contract(contract, folder)
    program = read_program(half / contract.model_file)
    run_halves_on_cpu(program)
    write_program(program, folder / contract.model_file)
    return contract


def check_on_cpu(
    reference: Path, candidate: Path, predict: PredictSettings, rows: Sequence[Row]
) -> Reproduction:
    """Compare the exports on the CPU, as `check_equivalence` does on a GPU."""
    with TemporaryDirectory() as temporary:
        make_runnable_on_cpu(candidate, Path(temporary))
        return check_equivalence(reference, Path(temporary), predict, rows)


def run_halves_on_cpu(program: Untyped) -> None:
    """Rewrite a graph in half precision so that the CPU can run it."""
    rewriting = _Rewriting(program)
    for block in program.blocks:
        replace_operators(block, rewriting.rewrite(block))


class _Rewriting:
    """A graph that is being rewritten; each new variable gets a unique name.

    Paddle's passes order operators by the names of their variables.
    """

    def __init__(self, program: Untyped) -> None:
        self._variables = Variables(program)
        self._half, self._single = float_types()
        self._made = 0

    def rewrite(self, block: Untyped) -> list[Untyped]:
        """Return the new operators of a block."""
        operators: list[Untyped] = []
        for operator in block.ops:
            if has_block(operator):
                operators.append(operator)
            elif operator.type == "cast":
                operators += self._cast(operator, block)
            else:
                operators += self._in_single(operator, block)
        return operators

    def _in_single(self, operator: Untyped, block: Untyped) -> list[Untyped]:
        """Return an operator with casts of its inputs before it and of its outputs after it."""
        before, behind = [], []
        for name in self._halves(operator.inputs):
            single = self._make(name, block)
            before.append(make_cast(name, single, self._half, self._single))
            rename(operator.inputs, name, single)
        for name in self._halves(operator.outputs):
            single = self._make(name, block)
            behind += self._round(single, name, block)
            rename(operator.outputs, name, single)
        return [*before, operator, *behind]

    def _cast(self, operator: Untyped, block: Untyped) -> list[Untyped]:
        ((_slot, source),), ((_slot, target),) = (
            arguments(slots) for slots in (operator.inputs, operator.outputs)
        )
        types = self._variables.type_of(source), self._variables.type_of(target)
        is_rounding = types == (self._single, self._half)
        return self._round(source, target, block) if is_rounding else [operator]

    def _round(self, source: str, target: str, block: Untyped) -> list[Untyped]:
        """Round to the nearest float16, because Paddle's CPU cast truncates towards zero.

        With s = `SPLITTER`, s x - (s x - x) is x rounded to the precision of float16.
        """
        product, rest, rounded = (self._make(target, block) for _ in range(3))
        return [
            make_operator("scale", {"X": source}, {"Out": product}, scale=SPLITTER, bias=0.0),
            _subtract(product, source, rest),
            _subtract(product, rest, rounded),
            make_cast(rounded, target, self._single, self._half),
        ]

    def _make(self, name: str, block: Untyped) -> str:
        """Declare a float32 variable with the shape of `name`; return its name."""
        self._made += 1
        made = f"{name}.single{self._made}"
        self._variables.make_like(name, made, self._single, block)
        return made

    def _halves(self, slots: Untyped) -> list[str]:
        names = {name for _slot, name in arguments(slots)}
        return sorted(name for name in names if self._variables.type_of(name) == self._half)


def _subtract(minuend: str, subtrahend: str, difference: str) -> Untyped:
    taken = {"X": minuend, "Y": subtrahend}
    return make_operator("elementwise_sub", taken, {"Out": difference}, axis=-1)
