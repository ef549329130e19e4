"""Corrections of PaddleNLP 2.8.1, each as narrow as it can be and only for that version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from tasks.engine.paddle.runtime import Tensor, import_paddle, import_paddlenlp
from tasks.errors import ExportError

PADDLENLP = "2.8.1"


@contextmanager
def transferring_plain_tensors() -> Iterator[None]:
    """Let `FasterUNIMOText` be made on any device and in half precision.

    Its constructor puts every weight through `transfer_param`
    (paddlenlp/ops/fast_transformer/transformer/decoding.py), which makes a copy by calling
    `type(p)` with a shape. That works for parameters. The matrices that PaddleNLP has put together
    itself (queries, keys and values in one) are plain tensors, and for these it raises, unless
    they are on a GPU already and in the precision that is wanted. Here they are cast instead, by
    NumPy as parameters are: it rounds to the nearest, Paddle's cast on the CPU towards 0. They are
    named, too, because their own names count all tensors that the process has ever made.

    Raises:
        ExportError: another version of PaddleNLP is installed, which this was not tried with.
    """
    found = version("paddlenlp")
    if found != PADDLENLP:
        raise ExportError(
            f"FasterTransformer is used through PaddleNLP {PADDLENLP}, and {found} is installed; "
            f"install paddlenlp=={PADDLENLP}, or set `export.engine: native`"
        )
    paddle = import_paddle()
    parameter_type = paddle.base.framework.EagerParamBase
    paddlenlp = import_paddlenlp("ops.fast_transformer.transformer.decoding")
    decoding = paddlenlp.ops.fast_transformer.transformer.decoding
    original = decoding.transfer_param

    def transfer_param(
        p: Tensor, is_bias: bool = False, dtype: str = "float16", restore_data: bool = False
    ) -> Tensor:
        if isinstance(p, parameter_type):
            return original(p, is_bias, dtype, restore_data)
        copy = paddle.to_tensor(p.numpy().astype(dtype))
        copy.name = paddle.utils.unique_name.generate("plain_tensor")
        return copy

    decoding.transfer_param = transfer_param
    try:
        yield
    finally:
        decoding.transfer_param = original
