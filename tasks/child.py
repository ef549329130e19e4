"""Calling a function in a fresh child process.

Paddle is imported in children only: it takes seconds and hundreds of megabytes, brings its own
zlib and signal handlers, and when it crashes it takes its process with it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from tasks.errors import WorkerError

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def call_in_child(
    function: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """Give `function(*args, **kwargs)`, computed in a spawned process; its errors come back too.

    Raises:
        WorkerError: the process died.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        try:
            return executor.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            name = getattr(function, "__name__", "function")
            raise WorkerError(f"the child process of {name} died; see its output above") from error
