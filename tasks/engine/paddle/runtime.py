"""Importing Paddle safely: the only module that imports it, with all necessary workarounds.

Every other module calls `import_paddle` or `import_paddlenlp` inside a function, so that only
processes that need them pay for the import (PaddleNLP takes 4-20 s). Only modules that build graphs
from Paddle's layers call it at their top; they in turn are imported inside functions.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings
import zlib as _zlib  # libpaddle exports an old zlib: loading ours after it crashes the process.
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.engine.paddle.cuda_libraries import load_cuda_libraries
from tasks.engine.paddle.installation import INSTALL, plan_with
from tasks.environment import importing
from tasks.errors import InstallationError

__all__ = [
    "Tensor",
    "Untyped",
    "import_as_it_is",
    "import_paddle",
    "import_paddlenlp",
    "quiet",
]

Untyped = Any
"""An object of Paddle or PaddleNLP, which have no type annotations."""

Tensor = Any
"""A `paddle.Tensor`, or the variable that represents one while a static graph is built."""

AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
"""The processor features that MKL's code for AVX-512 needs, by Linux's names."""

# M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h, in bytes.
MALLOC_OPTIONS = {-8: 1, -3: 1 << 30, -1: (1 << 31) - 1, -2: 1 << 26}

_ZLIB_IS_LOADED = bool(_zlib.ZLIB_VERSION)


def import_paddle() -> Untyped:
    """Import Paddle without warnings and after zlib, and restore the process's signal handlers.

    Raises:
        InstallationError: Paddle is not installed.
    """
    plan_with({})  # what is imported is the Paddle of this machine
    # Paddle's C++ code reads this once, when it is loaded; 2 means errors only.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # By default CUDA orders GPUs by speed, which NVML does not know; now gpu:1 is nvidia-smi's 1.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    _allow_avx_on_amd()
    _keep_freed_memory()
    load_cuda_libraries()
    try:
        with quiet(), _importing("paddle"):
            import paddle
            import paddle.inference
    except ModuleNotFoundError as error:
        if error.name != "paddle":
            raise
        raise InstallationError(f"Paddle is not installed; {INSTALL}") from error
    # Paddle's own handlers print a C++ trace on SIGTERM, by which workers are stopped.
    paddle.disable_signal_handler()
    return paddle


def import_paddlenlp(*parts: str) -> Untyped:
    """Import PaddleNLP's transformers (after Paddle), and restrict its log to errors.

    Args:
        parts: other packages of PaddleNLP to import, such as `metrics`.

    Returns:
        The module `paddlenlp`, with these as attributes.

    Raises:
        InstallationError: Paddle is not installed.
    """
    import_paddle()
    with quiet(), _importing("paddlenlp"):
        import paddlenlp.transformers
        from paddlenlp.utils.log import logger

        for part in parts:
            import_module(f"paddlenlp.{part}")
    logger.set_level("ERROR")
    return paddlenlp


def import_as_it_is() -> tuple[Untyped, Untyped]:
    """Import Paddle and PaddleNLP as other programs do, without this module's settings.

    For comparisons only; settings that `import_paddle` has made in this process before remain.
    """
    import paddle
    import paddlenlp.transformers

    return paddle, paddlenlp


def _importing(package: str) -> contextlib.AbstractContextManager[None]:
    """Import a package without a search for garbage, a fifth of PaddleNLP's time; once."""
    return contextlib.nullcontext() if package in sys.modules else importing()


def _allow_avx_on_amd() -> None:
    """Enable AVX-512 or AVX2 on AMD processors in the MKL that comes with Paddle.

    This MKL (2019.5) uses its slowest code on processors that are not Intel's, unless this
    variable, read when it is loaded, selects another; matrix products are 2.4 times as fast with
    AVX2, and up to a quarter faster again with AVX-512.
    """
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    flags = set(processor.partition("flags")[2].partition("\n")[0].split())
    if "AuthenticAMD" in processor and "avx2" in flags:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if flags >= AVX512 else "5")


def _keep_freed_memory() -> None:
    """Make the C library keep memory that Paddle frees, instead of returning it to the kernel.

    Activations are allocated and freed for each operator; if the memory is returned to the kernel
    and requested again, each 4 KiB costs a page fault, 6 % of the time of a batch. All threads use
    one arena, so that they reuse each other's memory.
    """
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOC_OPTIONS.items():
            mallopt(option, value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings that these packages cause while they are imported.

    They are about the packages' own code (distutils replaced by setuptools, `pkg_resources`,
    deprecated NumPy names); users of Wenti cannot do anything about them.
    """
    root_level = logging.root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.root.setLevel(root_level)
