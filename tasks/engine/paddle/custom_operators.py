"""Loading PaddleNLP's operators, which is required to make or run a graph with them."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tasks.engine.paddle.runtime import Untyped, import_paddle, quiet
from tasks.errors import ExportError

OPERATOR = "fusion_unified_decoding"


def load_operator(library: Path) -> None:
    """Register the operators of a shared library with Paddle, unless they are registered.

    A process keeps the first library: a second one with the same operators would abort it.

    Raises:
        ExportError: it cannot be loaded, or lacks the operator that decodes UNIMO.
    """
    paddle = import_paddle()
    if is_registered(paddle):
        return
    remedy = f"it has to be built for this Paddle ({paddle.__version__}) from PaddleNLP 2.8.1"
    try:
        # If a file cannot be loaded, Paddle says only that CUDA may be missing.
        ctypes.CDLL(str(library.absolute()))
    except OSError as error:
        raise ExportError(f"the operators cannot be loaded: {error}; {remedy}") from error
    try:
        with quiet():
            paddle.utils.cpp_extension.load_op_meta_info_and_register_op(str(library.absolute()))
    except RuntimeError as error:
        raise ExportError(f"Paddle finds no operators in {library}; {remedy}") from error
    if not is_registered(paddle):
        raise ExportError(f"{library} has no operator {OPERATOR}; {remedy}")


def is_registered(paddle: Untyped) -> bool:
    """Return whether the operator is registered in this process."""
    return OPERATOR in paddle.base.framework.OpProtoHolder.instance().op_proto_map
