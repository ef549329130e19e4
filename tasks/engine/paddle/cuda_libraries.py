"""The CUDA libraries that Paddle opens: found in the installed packages and loaded before Paddle.

Paddle for GPUs does not link them: it opens each by name when it first needs it, and the dynamic
loader looks for that name in `LD_LIBRARY_PATH` and in the system's folders. Libraries that are
already loaded are found first, wherever they are. So each is loaded here from its package, after
the libraries that it needs, and under a second name if Paddle asks for one without a version
(`libcublas.so`; see `phi::dynload::GetCublasDsoHandle` and similar functions in Paddle 2.6.2's
`dynamic_loader.cc`). cuDNN opens its own parts by name in the same way.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tasks.engine.paddle.generations.generation import find_generation
from tasks.engine.paddle.installation import find_builds
from tasks.engine.paddle.library_alias import load_alias


@dataclass(frozen=True)
class CudaLibrary:
    """A library: its soname, the package that contains it, and Paddle's name for it."""

    name: str
    package: str
    paddles_name: str | None = None


def _of_cudnn(part: str) -> CudaLibrary:
    return CudaLibrary(f"libcudnn_{part}.so.8", "nvidia-cudnn-cu11")


LIBRARIES = (
    # For FasterTransformer's operators; Paddle has its own copy built in.
    CudaLibrary("libcudart.so.11.0", "nvidia-cuda-runtime-cu11"),
    CudaLibrary("libnvrtc-builtins.so.11.8", "nvidia-cuda-nvrtc-cu11"),
    CudaLibrary("libnvrtc.so.11.2", "nvidia-cuda-nvrtc-cu11", "libnvrtc.so"),
    CudaLibrary("libcublasLt.so.11", "nvidia-cublas-cu11", "libcublasLt.so"),
    CudaLibrary("libcublas.so.11", "nvidia-cublas-cu11", "libcublas.so"),
    CudaLibrary("libcufft.so.10", "nvidia-cufft-cu11", "libcufft.so"),
    CudaLibrary("libcurand.so.10", "nvidia-curand-cu11", "libcurand.so"),
    CudaLibrary("libcusparse.so.11", "nvidia-cusparse-cu11", "libcusparse.so"),
    CudaLibrary("libcusolver.so.11", "nvidia-cusolver-cu11", "libcusolver.so"),
    _of_cudnn("ops_infer"),
    _of_cudnn("ops_train"),
    _of_cudnn("cnn_infer"),
    _of_cudnn("cnn_train"),
    _of_cudnn("adv_infer"),
    _of_cudnn("adv_train"),
    CudaLibrary("libcudnn.so.8", "nvidia-cudnn-cu11", "libcudnn.so"),
    CudaLibrary("libnccl.so.2", "nvidia-nccl-cu11", "libnccl.so"),
)
"""All libraries that Paddle 2.6.2 and cuDNN 8.6 open for CUDA 11.8, each after those it needs."""


def find_library(library: CudaLibrary) -> Path | None:
    """Return the path of a library in its package; None if the package is not installed."""
    try:
        files = distribution(library.package).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == library.name), None)


def load_library(library: CudaLibrary) -> None:
    """Load a library from its package or, if that is not installed, from the system.

    Raises:
        OSError: it is not installed, or cannot be loaded.
    """
    ctypes.CDLL(str(find_library(library) or library.name))
    if library.paddles_name is not None:
        load_alias(library.paddles_name, library.name)


@cache
def load_cuda_libraries() -> tuple[str, ...]:
    """Load the libraries that the installed Paddle opens by names that are not those of packages.

    There are none if it is built for the CPU only, or loads its own packages, as Paddle 3 does.

    Returns:
        The reason for each library that cannot be loaded. Paddle still works on the CPU without
        them, and reports itself what is missing on a GPU.
    """
    if not (find_generation().opens_cuda and any(build.has_cuda for build in find_builds())):
        return ()
    problems = []
    for library in LIBRARIES:
        try:
            load_library(library)
        except OSError as error:
            problems.append(f"{library.name} of {library.package}: {error}")
    return tuple(problems)


def find_missing() -> list[CudaLibrary]:
    """Return the libraries that are installed neither as a package nor in the system."""
    return [
        library
        for library in (LIBRARIES if find_generation().opens_cuda else ())
        if find_library(library) is None and not _is_in_the_system(library)
    ]


def _is_in_the_system(library: CudaLibrary) -> bool:
    try:
        ctypes.CDLL(library.name)
    except OSError:
        return False
    return True
