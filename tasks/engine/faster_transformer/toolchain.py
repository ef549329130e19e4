"""The programs that PaddleNLP needs to build its operators, and which of them are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.paddle.installation import CUDA, find_builds
from tasks.findings import Finding

NEWEST_GCC = 11
"""CUDA 11.8's nvcc rejects newer versions (its installation guide for Linux, table 2)."""

OLDEST_CMAKE = (3, 10)
SECONDS = 10.0

Version = tuple[int, ...]


@dataclass(frozen=True)
class Toolchain:
    """The versions of the installed programs; None for a missing one.

    The build uses `git` to download the sources of FasterTransformer 3.1.
    """

    paddle_has_cuda: bool
    nvcc: Version | None
    gcc: Version | None
    cmake: Version | None
    git: Version | None


def find_toolchain() -> Toolchain:
    """Return the version of each program; nvcc is looked up where Paddle looks for it."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = Path(home, "bin/nvcc") if home else shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    return Toolchain(
        paddle_has_cuda=any(build.has_cuda for build in find_builds()),
        nvcc=_version(r"release (\d+)\.(\d+)", str(nvcc), "--version"),
        gcc=_version(r"^(\d+)(?:\.(\d+))?", "gcc", "-dumpfullversion"),
        cmake=_version(r"version (\d+)\.(\d+)", "cmake", "--version"),
        git=_version(r"version (\d+)\.(\d+)", "git", "--version"),
    )


def toolchain_faults(found: Toolchain) -> list[Finding]:
    """Return every reason why the operators cannot be built; the keys are the programs."""
    faults = []
    if not found.paddle_has_cuda:
        problem = "this Paddle is built for the CPU only"
        faults.append(Finding("paddle", problem, "install wenti[gpu]"))
    faults += _compiler_faults(found)
    if found.cmake is None or found.cmake < OLDEST_CMAKE:
        problem = f"CMake {_join(OLDEST_CMAKE)} or newer is not installed"
        faults.append(Finding("cmake", problem, "install cmake"))
    if found.git is None:
        problem = "git, which downloads FasterTransformer's sources, is not installed"
        faults.append(Finding("git", problem, "install git"))
    return faults


def _compiler_faults(found: Toolchain) -> Iterator[Finding]:
    cuda = _join(CUDA)
    if found.nvcc is None:
        problem = f"the CUDA {cuda} toolkit (nvcc) is not installed"
        yield Finding("nvcc", problem, f"install CUDA {cuda}")
    elif found.nvcc[:2] != CUDA:
        problem = f"nvcc is for CUDA {_join(found.nvcc)}, but Paddle is built for {cuda}"
        remedy = f"install CUDA {cuda} and set CUDA_HOME to its folder"
        yield Finding("nvcc", problem, remedy)
    if found.gcc is None:
        yield Finding("gcc", "gcc is not installed", f"install gcc and g++ {NEWEST_GCC}")
    elif found.gcc[0] > NEWEST_GCC:
        problem = f"gcc is {_join(found.gcc)}, but CUDA {cuda} supports at most {NEWEST_GCC}"
        yield Finding("gcc", problem, f"put gcc and g++ {NEWEST_GCC} first in PATH")


def _version(pattern: str, *command: str) -> Version | None:
    """Return the numbers at the pattern's groups in a program's output; None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 compilers, as PaddleNLP calls them
            command, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(pattern, done.stdout)
    return None if found is None else tuple(int(part) for part in found.groups() if part)


def _join(version: Version) -> str:
    return ".".join(str(part) for part in version)
