"""Which Paddle is installed and what it was built for, without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from tasks.engine.gpu.fat_binaries import Kernels, read_kernels
from tasks.findings import Finding

GPU_PACKAGE, CPU_PACKAGE = "paddlepaddle-gpu", "paddlepaddle"
KERNELS_FILE = "libphi.so"
"""Paddle's library of operators (1.9 GB), which contains most of its kernels."""

CUDA = (11, 8)
"""The version of CUDA that paddlepaddle-gpu 2.6.2 is built for."""

INSTALL = "pip install 'wenti[cpu]', or 'wenti[gpu]' on a machine with NVIDIA GPUs"


@dataclass(frozen=True)
class PaddleBuild:
    """An installed Paddle.

    Attributes:
        package: `paddlepaddle` or `paddlepaddle-gpu`.
        version: such as 2.6.2.
    """

    package: str
    version: str

    @property
    def has_cuda(self) -> bool:
        """Whether it is built for GPUs."""
        return self.package == GPU_PACKAGE

    def __str__(self) -> str:
        """Return package and version."""
        return f"{self.package} {self.version}"


def find_builds() -> list[PaddleBuild]:
    """Return the installed builds of Paddle, GPUs first; there should be exactly one."""
    found = []
    for package in (GPU_PACKAGE, CPU_PACKAGE):
        try:
            found.append(PaddleBuild(package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def describe_paddle() -> str:
    """Return the package and version of the installed Paddle, such as `paddlepaddle 2.6.2`."""
    return str(next(iter(find_builds()), "not installed"))


def find_package_faults(builds: list[PaddleBuild]) -> list[Finding]:
    """Return what is wrong with the installed builds: none, or more than one."""
    if not builds:
        return [Finding("paddle", "Paddle is not installed", INSTALL)]
    if len(builds) > 1:
        both = " and ".join(str(build) for build in builds)
        problem = f"{both} are installed, and each overwrites the other's files"
        remedy = f"pip uninstall {' '.join(build.package for build in builds)}, then {INSTALL}"
        return [Finding("paddle", problem, remedy)]
    return []


@cache
def find_kernels() -> Kernels | None:
    """Return the kernels of the installed Paddle; None if they cannot be read."""
    library = _locate(KERNELS_FILE)
    try:
        return None if library is None else read_kernels(library)
    except (OSError, ValueError):
        return None


def _locate(name: str) -> Path | None:
    try:
        files = distribution(GPU_PACKAGE).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == name), None)
