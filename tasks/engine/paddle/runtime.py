"""Importing Paddle safely: the one place that knows its traps.

Every other module calls `import_paddle` or `import_paddlenlp`, inside a function, so that a process
which never decodes never pays for them (PaddleNLP takes 4-20 s to import). Only the modules that
build a graph of Paddle's layers call it at their top; they in turn are imported inside functions.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
import zlib as _zlib  # libpaddle exports an old zlib: loading ours after it crashes the process.
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.engine.paddle.cuda_libraries import load_cuda_libraries
from tasks.engine.paddle.installation import INSTALL
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
"""Anything of Paddle's or PaddleNLP's: they publish no types."""

Tensor = Any
"""A `paddle.Tensor`, or the variable that stands for one while a static graph is built."""

AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
"""What MKL's code for AVX-512 uses, as Linux names it."""

# M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h, in bytes.
MALLOC_OPTIONS = {-8: 1, -3: 1 << 30, -1: (1 << 31) - 1, -2: 1 << 26}

_ZLIB_IS_LOADED = bool(_zlib.ZLIB_VERSION)


def import_paddle() -> Untyped:
    """Import Paddle after zlib, quietly, and give the process its signal handlers back.

    Raises:
        InstallationError: Paddle is not installed.
    """
    # Paddle's C++ side reads this once, when it is loaded; 2 leaves errors only.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # CUDA's own order is by speed, which NVML does not know; so gpu:1 is the 1 of nvidia-smi.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    _allow_avx_on_amd()
    _keep_freed_memory()
    load_cuda_libraries()
    try:
        with quiet():
            import paddle
            import paddle.inference
    except ModuleNotFoundError as error:
        if error.name != "paddle":
            raise
        raise InstallationError(f"Paddle is not installed; {INSTALL}") from error
    # Paddle's own handlers print a C++ trace on SIGTERM, which is how a worker is told to stop.
    paddle.disable_signal_handler()
    return paddle


def import_paddlenlp(*parts: str) -> Untyped:
    """Import PaddleNLP's transformers (after Paddle) with its log kept to errors.

    Args:
        parts: other packages of PaddleNLP to import, such as `metrics`.

    Returns:
        The module `paddlenlp`, of which these are attributes.
    """
    import_paddle()
    with quiet():
        import paddlenlp.transformers
        from paddlenlp.utils.log import logger

        for part in parts:
            import_module(f"paddlenlp.{part}")
    logger.set_level("ERROR")
    return paddlenlp


def import_as_it_is() -> tuple[Untyped, Untyped]:
    """Return Paddle and PaddleNLP as any program imports them, without this module's settings.

    For comparisons only; what `import_paddle` has set in this process before stays set.
    """
    import paddle
    import paddlenlp.transformers

    return paddle, paddlenlp


def _allow_avx_on_amd() -> None:
    """Enable AVX-512 or AVX2 on AMD processors in the MKL that comes with Paddle.

    That MKL (2019.5) takes its slowest path on other makers' processors unless this variable,
    read when it is loaded, names one; matrix products are 2.4 times as fast with AVX2, and up to
    a quarter faster again with AVX-512.
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

    Activations are allocated and freed for each operator; returned to the kernel and taken back
    they cost a page fault for each 4 KiB, 6 % of the time of a batch. It is one arena for all
    threads, so that what one frees serves the others.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOC_OPTIONS.items():
            mallopt(option, value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings that these packages cause while they are imported.

    They are about the packages' own code (distutils replaced by setuptools, `pkg_resources`,
    deprecated NumPy names); nobody who runs Wenti can do anything about them.
    """
    root_level = logging.root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.root.setLevel(root_level)
