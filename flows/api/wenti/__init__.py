"""Wenti in a notebook or a program: run a config, look at its results, compare two runs.

Importing it takes milliseconds: what a function needs is imported when it is called.
"""

from __future__ import annotations

from flows.api.calls import Run, compare, quality, results, run
from tasks import errors
from tasks.errors import WentiError

__all__ = ["Run", "WentiError", "compare", "errors", "quality", "results", "run"]
