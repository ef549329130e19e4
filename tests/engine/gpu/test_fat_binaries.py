from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.engine.gpu.fat_binaries import (
    BINARY,
    CONTAINER,
    ENTRY,
    MAGIC,
    PTX,
    Kernels,
    read_kernels,
)

Build = Callable[[bytes], Path]

CAPABILITIES = st.tuples(st.integers(3, 12), st.integers(0, 9))
KERNELS = st.builds(Kernels, st.frozensets(CAPABILITIES), st.frozensets(CAPABILITIES))
PADDLES = Kernels(frozenset({(6, 1), (7, 0), (7, 5), (8, 0), (8, 6)}), frozenset())


def container(*entries: tuple[int, int]) -> bytes:
    """Return a fat binary with (kind, architecture) entries and some code, padded as by nvcc."""
    code = b"\x01" * 40
    header = ENTRY.size + 32  # headers are longer than the part that is read
    packed = [ENTRY.pack(kind, 0x101, header, len(code), number) for kind, number in entries]
    body = b"".join(entry.ljust(header, b"\0") + code for entry in packed)
    return CONTAINER.pack(MAGIC, 1, CONTAINER.size, len(body)) + body


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A function that compiles a shared library with given bytes as its section of kernels."""
    folder = tmp_path_factory.mktemp("libraries")

    def build(section: bytes) -> Path:
        (folder / "kernels.bin").write_bytes(section)
        line = f'.section .nv_fatbin, "a"\n.align 8\n.incbin "{folder}/kernels.bin"\n'
        (folder / "kernels.s").write_text(line)
        library = folder / "library.so"
        subprocess.run(["gcc", "-shared", "-o", library, folder / "kernels.s"], check=True)
        return library

    return build


def test_kernels_are_read_from_a_library_and_a_strange_fat_binary_does_not_count(
    build: Build,
) -> None:
    usual = container((BINARY, 61), (BINARY, 86), (PTX, 86))
    strange = container((BINARY, 35), (BINARY, 61), (BINARY, 90))
    library = build(usual + bytes(16) + usual + strange)
    assert read_kernels(library) == Kernels(frozenset({(6, 1), (8, 6)}), frozenset({(8, 6)}))


def test_architectures_of_three_digits_are_read(build: Build) -> None:
    assert read_kernels(build(container((BINARY, 120)))) == Kernels(
        frozenset({(12, 0)}), frozenset()
    )


def test_a_library_without_kernels_has_none(tmp_path: Path) -> None:
    library = tmp_path / "plain.so"
    subprocess.run(["gcc", "-shared", "-o", library, "-x", "c", "/dev/null"], check=True)
    assert read_kernels(library) is None


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "library.so"
    text.write_text("no library")
    with pytest.raises(ValueError, match="not an ELF"):
        read_kernels(text)
    with pytest.raises(OSError, match="No such file"):
        read_kernels(tmp_path / "nowhere.so")


@pytest.fixture(scope="module")
def library(build: Build) -> bytes:
    return build(container((BINARY, 61), (PTX, 86)) * 3).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.floats(0, 1))
def test_a_damaged_library_is_refused_or_read(
    library: bytes, tmp_path: Path, place: float, value: int, kept: float
) -> None:
    at, end = int(place * len(library)), 1 + int(kept * len(library))
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes((library[:at] + bytes([value]) + library[at + 1 :])[:end])
    try:
        kernels = read_kernels(damaged)
    except ValueError:
        return
    assert kernels is None or isinstance(kernels, Kernels)


@pytest.mark.parametrize(
    ("gpu", "runs"),
    [
        ((5, 2), None),  # M40
        ((6, 0), None),  # P100: older than the binary of its own major version
        ((6, 1), "sm_61"),  # P40
        ((7, 0), "sm_70"),  # V100
        ((7, 5), "sm_75"),  # T4
        ((8, 0), "sm_80"),  # A100
        ((8, 6), "sm_86"),  # A10
        ((8, 7), "sm_86"),  # Orin
        ((8, 9), "sm_86"),  # L4, RTX 40
        ((9, 0), None),  # H100
        ((10, 0), None),  # B200
        ((12, 0), None),  # RTX 50
    ],
)
def test_the_cards_that_paddle_runs_on(gpu: tuple[int, int], runs: str | None) -> None:
    assert PADDLES.find_for(gpu) == runs


def test_ptx_is_for_its_own_and_all_newer_cards() -> None:
    kernels = Kernels(frozenset({(8, 0)}), frozenset({(7, 0)}))
    found = [kernels.find_for(gpu) for gpu in ((6, 1), (7, 0), (8, 9), (9, 0))]
    assert found == [None, "PTX of sm_70", "sm_80", "PTX of sm_70"]


@given(KERNELS, KERNELS, CAPABILITIES)
def test_more_kernels_never_take_a_card_away(a: Kernels, b: Kernels, gpu: tuple[int, int]) -> None:
    both = Kernels(a.binaries | b.binaries, a.ptx | b.ptx)
    alone = a.find_for(gpu) or b.find_for(gpu)
    assert (both.find_for(gpu) is not None) == (alone is not None)


@given(KERNELS, CAPABILITIES)
def test_a_newer_card_of_the_same_major_version_runs_what_an_older_one_does(
    kernels: Kernels, gpu: tuple[int, int]
) -> None:
    newer = (gpu[0], gpu[1] + 1)
    assert kernels.find_for(gpu) is None or kernels.find_for(newer) is not None
