"""Which GPUs a library has kernels for: read from its fat binaries, without CUDA.

nvcc writes the kernels of a source file into the ELF section `.nv_fatbin`, compiled for several
architectures: binaries (kind 2), and PTX (kind 1) that a driver can compile for newer GPUs. The
section is a sequence of containers, each with a header (magic number, version, size of the header,
size of the rest) and entries, each with a header of its own: kind, the two sizes, architecture.
NVIDIA documents the tool that lists them, `cuobjdump --list-elf --list-ptx`, but not the layout,
which has been the same since CUDA 5. Only headers are read, not the kernels.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTION = b".nv_fatbin"
MAGIC = 0xBA55ED50
PTX, BINARY = 1, 2

CONTAINER = struct.Struct("<IHHQ")
"""Magic number, version, size of this header, size of the entries."""

ENTRY = struct.Struct("<HHIQ12xI")
"""Kind, version, size of this header, size of the payload, and the architecture at byte 28."""

UNKNOWN = "its fat binaries have an unknown layout"

_ALIGNMENT = 8
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")

Capability = tuple[int, int]
"""Compute capability: major and minor, (8, 6) for sm_86."""

Data = mmap.mmap | bytes


@dataclass(frozen=True)
class Kernels:
    """What a library's kernels are compiled for.

    Attributes:
        binaries: compute capabilities with machine code.
        ptx: compute capabilities with PTX, which a driver compiles for the same and newer GPUs.
    """

    binaries: frozenset[Capability]
    ptx: frozenset[Capability]

    def find_for(self, gpu: Capability) -> str | None:
        """Return the code that a GPU runs, such as `sm_86` or `PTX of sm_90`, or None.

        A binary for X.y runs on X.z with z ≥ y, and on no other major version (CUDA C++
        Programming Guide 11.8, 3.1.2 Binary Compatibility); PTX for X.y runs on X.y and everything
        newer (3.1.3 PTX Compatibility).
        """
        binaries = [one for one in self.binaries if one[0] == gpu[0] and one[1] <= gpu[1]]
        if binaries:
            return name_architecture(max(binaries))
        ptx = [one for one in self.ptx if one <= gpu]
        return f"PTX of {name_architecture(max(ptx))}" if ptx else None

    def __str__(self) -> str:
        """Return the architectures as NVIDIA names them."""
        names = [name_architecture(one) for one in sorted(self.binaries)]
        names += [f"PTX of {name_architecture(one)}" for one in sorted(self.ptx)]
        return ", ".join(names) or "none"


def name_architecture(capability: Capability) -> str:
    """Return NVIDIA's name of a compute capability, such as sm_86."""
    return "sm_{}{}".format(*capability)


def read_kernels(library: Path) -> Kernels | None:
    """Return what the kernels of a shared library are compiled for; None if it has none.

    An architecture counts if more than half of the fat binaries have it: libraries linked into this
    one may have been compiled for other architectures.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an ELF-64 file, or its fat binaries have an unknown layout.
    """
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        try:
            containers = [set(entries) for entries in _containers(data)]
        except (struct.error, IndexError) as error:
            raise ValueError(f"{library} cannot be read: {error}") from error
    if not containers:
        return None
    counts = Counter(entry for entries in containers for entry in entries)
    usual = [entry for entry, count in counts.items() if 2 * count > len(containers)]
    of_kind = {
        kind: frozenset(divmod(number, 10) for found, number in usual if found == kind)
        for kind in (BINARY, PTX)
    }
    return Kernels(of_kind[BINARY], of_kind[PTX])


def _containers(data: Data) -> Iterator[list[tuple[int, int]]]:
    """Yield the kind and the architecture of each entry, container by container."""
    at, end = _find_section(data)
    while at + CONTAINER.size <= end:
        magic, _version, header, size = CONTAINER.unpack_from(data, at)
        if magic != MAGIC:  # padding between two containers
            at += _ALIGNMENT
            continue
        if header < CONTAINER.size:
            raise ValueError(UNKNOWN)
        yield list(_entries(data, at + header, at + header + size))
        at += header + size


def _entries(data: Data, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at < end:
        kind, _version, header, size, architecture = ENTRY.unpack_from(data, at)
        if header < ENTRY.size:
            raise ValueError(UNKNOWN)
        yield kind, architecture
        at += header + size


def _find_section(data: Data) -> tuple[int, int]:
    """Return the start and end offsets of the section with the kernels; 0, 0 without one."""
    if data[:5] != b"\x7fELF\x02":
        raise ValueError("it is not an ELF-64 file")
    (table,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    headers = [
        _SECTION_HEADER.unpack_from(data, table + _SECTION_HEADER.size * n) for n in range(count)
    ]
    for name, _type, _flags, _address, offset, size, *_rest in headers:
        start = headers[names][4] + name
        if data[start : start + len(SECTION) + 1] == SECTION + b"\0":
            return offset, offset + size
    return 0, 0
