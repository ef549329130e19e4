"""Standard output and standard error that may be closed, full, or of an encoding without Chinese.

A run must not fail because it cannot print. A command whose result is what it prints must.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

ESCAPE = "wenti.escape"
"""Name of the error handler for characters that an encoding lacks."""


class Output(io.FileIO):
    """A file descriptor that takes everything; what cannot be written is dropped.

    Attributes:
        fault: the first error; None if everything was written.
    """

    fault: OSError | None = None

    def write(self, data: object) -> int:
        """Write bytes, or drop them; return their number."""
        view = memoryview(data)  # type: ignore[arg-type]  # any buffer, as in `FileIO`
        if self.fault is None:
            try:
                return super().write(view) or 0
            except OSError as error:
                self.fault = error
        return view.nbytes


def prepare_streams() -> Output:
    """Replace `sys.stdout` and `sys.stderr` by streams that never fail; return the first's file.

    A closed descriptor is opened again, to nowhere: otherwise the next file that is opened gets its
    number, and what a library prints goes into that file.
    """
    codecs.register_error(ESCAPE, _escape)
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    output = Output(1, "w", closefd=False)
    sys.stdout = _text(output, sys.stdout)
    sys.stderr = _text(Output(2, "w", closefd=False), sys.stderr)
    if 1 in closed:
        output.fault = OSError(9, "it is closed")
    return output


def leave(code: object, output: Output, is_printing: bool) -> NoReturn:
    """End the process with an exit code, or with 1 if a result could not be printed.

    A reader that has seen enough, such as `head`, is not a fault.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # somebody has closed it
            stream.flush()
    fault = output.fault
    if fault is not None and is_printing and not isinstance(fault, BrokenPipeError):
        sys.stderr.write(f"wenti: cannot write to standard output: {fault.strerror}\n")
        code = code or 1
    sys.exit(code)  # type: ignore[arg-type]  # what `sys.exit` was given before


def _text(file: Output, before: TextIO | None) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    is_terminal = file.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(file), encoding, ESCAPE, line_buffering=is_terminal or file.fileno() == 2
    )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Return characters as \uXXXX, which is valid in JSON too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    codes = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(f"\\u{code}" for code in codes), error.end
