"""An interpreter of pickles that can run no code.

Unpickling can call any function and set the state of any object, so no unpickler of Python is used.
This interpreter knows the operations of the files that `paddle.save` writes. Names are looked up in
a table that the caller gives, and never imported; the value of an operation is a plain value of
Python, or what a function of that table returned.
"""

from __future__ import annotations

import pickletools
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO


class PickleError(Exception):
    """The file is no pickle, or has something else than it may have; says what."""


@dataclass(frozen=True)
class Function:
    """What a name in a pickle stands for: `call` gets the arguments and returns a value."""

    call: Callable[[tuple[Any, ...]], object]


class Built(ABC):
    """A value that a pickle may give a state."""

    @abstractmethod
    def set_state(self, state: object) -> None:
        """Check and take the state; raise a `PickleError` if it is not as expected."""


Functions = Mapping[tuple[str, str], Function]
"""By module and name."""


def interpret(file: BinaryIO, functions: Functions) -> object:
    """Return the value of a pickle.

    Args:
        file: read up to the end of the pickle.
        functions: all functions that it may call.

    Raises:
        PickleError: it is no pickle, or has another operation or function than it may have.
    """
    machine = _Machine(functions)
    try:
        for operation, argument, _position in pickletools.genops(file):
            if operation.name == "STOP":
                return machine.pop()
            machine.run(operation.name, argument)
    except (ValueError, OverflowError, MemoryError) as error:  # of pickletools
        raise PickleError(f"no pickle: {error}") from error
    raise PickleError("no pickle: it has no end")


def show(value: object) -> str:
    """Return a value of a pickle as a short text."""
    return reprlib.repr(value)


_MARK = object()

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_WITH_ARGUMENT = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, functions: Functions) -> None:
        self.functions = functions
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:  # noqa: ANN401 decoded by pickletools
        """Execute one operation."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _WITH_ARGUMENT:
            self.stack.append(argument)
        elif name in _TUPLES:
            self.stack.append(tuple(self._pop_some(_TUPLES[name])))
        elif name not in ("PROTO", "FRAME"):
            operation = _OPERATIONS.get(name)
            if operation is None:
                raise PickleError(f"the operation {name}")
            operation(self, argument)

    def pop(self) -> Any:  # noqa: ANN401 any value of a pickle
        """Remove and return the topmost value."""
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("an operation without a value")
        return self.stack.pop()

    def tuple_(self, _argument: None) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def set_item(self, _argument: None) -> None:
        self._set_items(self._pop_some(2))

    def set_items(self, _argument: None) -> None:
        self._set_items(self._pop_to_mark())

    def append(self, _argument: None) -> None:
        self._append(self._pop_some(1))

    def appends(self, _argument: None) -> None:
        self._append(self._pop_to_mark())

    def put(self, index: int) -> None:
        self.memo[index] = self._top(object)

    def memoize(self, _argument: None) -> None:
        self.memo[len(self.memo)] = self._top(object)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise PickleError("a reference to nothing")
        self.stack.append(self.memo[index])

    def global_(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._look_up(module, name)

    def stack_global(self, _argument: None) -> None:
        self._look_up(*self._pop_some(2))

    def reduce(self, _argument: None) -> None:
        function, args = self._pop_some(2)
        if not isinstance(function, Function) or not isinstance(args, tuple):
            raise PickleError("a call of something else than a function")
        self.stack.append(function.call(args))

    def build(self, _argument: None) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, Built):
            raise PickleError("a state for something that has none")
        target.set_state(state)

    def _look_up(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a function without a name")
        if (module, name) not in self.functions:
            raise PickleError(f"a call of {module}.{name}")
        self.stack.append(self.functions[module, name])

    def _top(self, kind: type) -> Any:  # noqa: ANN401 of that kind
        if not self.stack or self.stack[-1] is _MARK or not isinstance(self.stack[-1], kind):
            raise PickleError(f"an operation on something else than a {kind.__name__}")
        return self.stack[-1]

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
            raise PickleError("a dict whose keys are no texts")
        target.update(zip(keys, values, strict=True))

    def _append(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def _pop_some(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[Any]:
        items = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise PickleError("no mark")
        self.stack.pop()
        return items[::-1]


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "TUPLE": _Machine.tuple_,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
