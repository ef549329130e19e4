"""Aliases of shared libraries: the loaded `libcublas.so.11` is also found as `libcublas.so`.

If a library with the requested name is already loaded, the dynamic loader uses it, and it looks up
symbols in a library and then in those that it needs. So an alias is a library without content that
has the requested name (`DT_SONAME`) and needs the real library (`DT_NEEDED`). It is made in memory;
nothing is written to disk.

The layout is that of the System V ABI, chapters 4 and 5 (ELF-64, little-endian).
"""

from __future__ import annotations

import ctypes
import os
import struct

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")

_IDENTITY = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_SHARED_OBJECT, _X86_64, _AARCH64 = 3, 62, 183
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_READ_WRITE = 6
_NEEDED, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 1, 5, 6, 10, 11, 14
_SYMBOL_SIZE = 24
_PAGE = 0x1000


def load_alias(name: str, loaded: str) -> None:
    """Make a loaded library available under a second name in this process.

    Args:
        name: the name that will be requested, without a folder.
        loaded: the soname of a loaded library.

    Raises:
        OSError: no library is loaded as `loaded`, or can be found in the loader's usual folders.
    """
    # The loader identifies what it has loaded by path: the file stays open, so that the next alias
    # gets a different one.
    descriptor = os.memfd_create(name)
    try:
        os.write(descriptor, make_alias(name, loaded))
        ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        os.close(descriptor)
        raise


def make_alias(name: str, needed: str) -> bytes:
    """Return the bytes of an empty shared library with soname `name` that needs `needed`."""
    names = b"\0" + needed.encode() + b"\0" + name.encode() + b"\0"
    segments_at = _HEADER.size
    dynamic_at = segments_at + 3 * _SEGMENT.size
    entries = 7
    symbols_at = dynamic_at + entries * _ENTRY.size
    names_at = symbols_at + _SYMBOL_SIZE  # every table starts with one empty symbol
    size = names_at + len(names)
    dynamic = {
        _NEEDED: 1,
        _SONAME: len(needed) + 2,
        _STRTAB: names_at,
        _STRSZ: len(names),
        _SYMTAB: symbols_at,
        _SYMENT: _SYMBOL_SIZE,
        0: 0,
    }
    machine = _AARCH64 if os.uname().machine == "aarch64" else _X86_64
    sizes = (_HEADER.size, _SEGMENT.size, 3, 0, 0, 0)
    segments = (
        (_LOAD, _READ_WRITE, 0, 0, 0, size, size, _PAGE),
        (_DYNAMIC, _READ_WRITE, *[dynamic_at] * 3, *[entries * _ENTRY.size] * 2, 8),
        (_STACK, _READ_WRITE, 0, 0, 0, 0, 0, 16),  # without it, the stack becomes executable
    )
    return b"".join(
        (
            _HEADER.pack(_IDENTITY, _SHARED_OBJECT, machine, 1, 0, segments_at, 0, 0, *sizes),
            *(_SEGMENT.pack(*segment) for segment in segments),
            *(_ENTRY.pack(*entry) for entry in dynamic.items()),
            bytes(_SYMBOL_SIZE),
            names,
        )
    )
