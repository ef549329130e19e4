"""Which Paddle is installed and what it was built for, without importing it.

On a machine that plans for the nodes of a cluster, it is the Paddle of the nodes: see `plan_with`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from tasks.engine.gpu.fat_binaries import Capability, Kernels, read_kernels
from tasks.errors import InstallationError
from tasks.findings import Finding

GPU_PACKAGE, CPU_PACKAGE = "paddlepaddle-gpu", "paddlepaddle"
PACKAGES = (GPU_PACKAGE, CPU_PACKAGE, "paddlenlp")
PLANNED = "WENTI_PLANNED_PACKAGES"
"""Environment variable with the packages that a process and its children plan with."""

KERNELS_FILE = "libphi.so"
"""Paddle 2's library of operators (1.9 GB), which contains most of its kernels."""

FACTS_FILE = "paddle/version/__init__.py"
"""Paddle's file of what it was built for: assignments to names."""

CUDA = (11, 8)
"""The version of CUDA that paddlepaddle-gpu 2.6.2 is built for."""

INSTALL = (
    "pip install 'wenti[cpu]', or 'wenti[gpu]' on a machine with NVIDIA GPUs; Paddle 3 is "
    "'wenti[cpu3]' (docs/gpu.md)"
)


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
    return builds_of(_find_planned() or find_packages())


def builds_of(packages: Mapping[str, str]) -> list[PaddleBuild]:
    """Return the builds of Paddle among packages with their versions, GPUs first."""
    names = (name for name in (GPU_PACKAGE, CPU_PACKAGE) if name in packages)
    return [PaddleBuild(name, packages[name]) for name in names]


def find_packages() -> dict[str, str]:
    """Return the versions of those of `PACKAGES` that this machine has, whatever it plans with."""
    found = {name: _find_version(name) for name in PACKAGES}
    return {name: known for name, known in found.items() if known is not None}


def find_version(package: str) -> str:
    """Return the version of an installed package, or `not installed`."""
    planned = _find_planned() if package in PACKAGES else {}
    return (planned.get(package) if planned else _find_version(package)) or "not installed"


def plan_with(packages: Mapping[str, str]) -> None:
    """Let this process and its children plan as if these packages were installed, if any."""
    if packages:
        os.environ[PLANNED] = json.dumps(dict(packages))
    else:
        os.environ.pop(PLANNED, None)


def plans_for_nodes() -> bool:
    """Return whether this process plans with the packages of other machines."""
    return bool(_find_planned())


def find_releases() -> dict[str, str]:
    """Return the releases of Paddle and PaddleNLP that this process plans with, by these names.

    A build for CPUs and one for GPUs may be of the same release, such as 2.6.2.
    """
    return _releases_of(_find_planned() or find_packages())


def require_releases(planned: Mapping[str, str]) -> None:
    """Require that this machine has the releases with which another machine has planned.

    Raises:
        InstallationError: it has others, whose results would not be those of the plan.
    """
    here = _releases_of(find_packages())
    for name, wanted in planned.items():
        if (found := here.get(name, "not installed")) != wanted:
            raise InstallationError(
                f"{name} is {found} on this node, and the run is planned with {wanted}; install "
                "the same version on every node"
            )


def _releases_of(packages: Mapping[str, str]) -> dict[str, str]:
    names = {GPU_PACKAGE: "Paddle", CPU_PACKAGE: "Paddle", "paddlenlp": "PaddleNLP"}
    return {
        names[package]: re.split(r"\.post|\+", version_of_build)[0]  # 2.6.2.post120 is for CUDA 12
        for package, version_of_build in packages.items()
    }


def _find_planned() -> dict[str, str]:
    planned: dict[str, str] = json.loads(os.environ.get(PLANNED) or "{}")
    return planned


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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


def find_cuda() -> tuple[int, int]:
    """Return the version of CUDA that the installed Paddle for GPUs is built for."""
    found = re.search(r"^cuda_version *= *'(\d+)\.(\d+)", _read_facts(), re.MULTILINE)
    return CUDA if found is None else (int(found[1]), int(found[2]))


def find_missing_packages() -> list[str]:
    """Return the packages of CUDA that the installed Paddle declares and that are not installed.

    Paddle 2 declares none (`tasks.engine.paddle.cuda_libraries` knows what it opens).
    """
    try:
        declared = requires(GPU_PACKAGE) or []
    except PackageNotFoundError:
        return []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in declared]
    needed = [name for name in names if name.startswith("nvidia-")]
    return [name for name in needed if find_version(name) == "not installed"]


@cache
def find_kernels() -> Kernels | None:
    """Return the kernels of the installed Paddle; None if they cannot be read.

    Paddle 3 lists their architectures in a file; those of Paddle 2 are read from its library.
    """
    if listed := _listed_architectures():
        return Kernels(listed, frozenset())
    library = _locate(KERNELS_FILE)
    try:
        return None if library is None else read_kernels(library)
    except (OSError, ValueError):
        return None


def _listed_architectures() -> frozenset[Capability]:
    found = re.search(r"^compiled_cuda_archs *= *\[(.*)\]", _read_facts(), re.MULTILINE)
    numbers = [] if found is None else [int(one) for one in re.findall(r"\d+", found[1])]
    return frozenset(divmod(number, 10) for number in numbers)


def _read_facts() -> str:
    path = _locate(FACTS_FILE)
    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _locate(name: str) -> Path | None:
    """Return a file of Paddle for GPUs, by the end of its path."""
    try:
        files = distribution(GPU_PACKAGE).files or []
    except PackageNotFoundError:
        return None
    return next(
        (Path(str(file.locate())) for file in files if f"/{file}".endswith(f"/{name}")), None
    )
