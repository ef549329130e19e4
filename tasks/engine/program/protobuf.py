"""Changing a saved graph: helpers for the modules that rewrite one.

A saved graph is Paddle's `ProgramDesc`, a protobuf: blocks of operators, of which the first is the
graph and another the body of its loop. Variables are identified by names, unique in a graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.engine.paddle.generations.paddle2 import protobuf
from tasks.engine.paddle.runtime import Untyped


def float_types() -> tuple[int, int]:
    """Return Paddle's numbers for the types float16 and float32."""
    names = protobuf().VarType
    return names.FP16, names.FP32


class Variables:
    """The variables of a graph by name: reads and sets their types, and declares new ones."""

    def __init__(self, program: Untyped) -> None:
        self._known = {one.name: one for block in program.blocks for one in block.vars}

    def type_of(self, name: str) -> int | None:
        """Return Paddle's number for the type of a tensor's elements; None if it is no tensor."""
        found = self._known.get(name)
        is_tensor = found is not None and found.type.HasField("lod_tensor")
        return found.type.lod_tensor.tensor.data_type if found and is_tensor else None

    def set_type(self, name: str, number: int) -> None:
        """Set the type of a tensor's elements."""
        self._known[name].type.lod_tensor.tensor.data_type = number

    def is_weight(self, name: str) -> bool:
        """Return whether a variable is in the file of weights."""
        return name in self._known and self._known[name].persistable

    def make_like(self, name: str, new_name: str, number: int, block: Untyped) -> None:
        """Declare a tensor in `block` with the shape of `name` and elements of type `number`."""
        made = block.vars.add()
        made.CopyFrom(self._known[name])
        made.name, made.persistable = new_name, False
        made.ClearField("is_parameter")
        self._known[new_name] = made
        self.set_type(new_name, number)


def arguments(slots: Iterable[Untyped]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of slot and variable of an operator's `inputs` or `outputs`."""
    for slot in slots:
        for name in slot.arguments:
            yield slot.parameter, name


def rename(slots: Iterable[Untyped], old: str, new: str) -> None:
    """Replace the variable `old` by `new` in an operator's `inputs` or `outputs`."""
    for slot in slots:
        for place, name in enumerate(slot.arguments):
            if name == old:
                slot.arguments[place] = new


def has_block(operator: Untyped) -> bool:
    """Return whether an operator runs a block of its own, as a loop does."""
    return any(attribute.name == "sub_block" for attribute in operator.attrs)


def make_operator(
    kind: str, inputs: dict[str, str], outputs: dict[str, str], **attributes: bool | int | float
) -> Untyped:
    """Return an operator with one variable in each slot."""
    proto = protobuf()
    made = proto.OpDesc(type=kind)
    for slots, variables in ((made.inputs, inputs), (made.outputs, outputs)):
        for parameter, name in variables.items():
            slots.add(parameter=parameter).arguments.append(name)
    for name, value in attributes.items():
        if isinstance(value, bool):
            made.attrs.add(name=name, type=proto.BOOLEAN, b=value)
        elif isinstance(value, int):
            made.attrs.add(name=name, type=proto.INT, i=value)
        else:
            made.attrs.add(name=name, type=proto.FLOAT, f=value)
    return made


def make_cast(source: str, target: str, source_type: int | None, target_type: int) -> Untyped:
    """Return an operator that casts `source` to another type, into `target`."""
    return make_operator(
        "cast",
        {"X": source},
        {"Out": target},
        in_dtype=source_type or 0,
        out_dtype=target_type,
        use_mkldnn=False,
        with_quant_attr=False,
    )


def replace_operators(block: Untyped, operators: list[Untyped]) -> None:
    """Replace the operators of a block."""
    del block.ops[:]
    block.ops.extend(operators)
