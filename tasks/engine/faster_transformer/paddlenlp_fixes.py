"""Corrections of PaddleNLP 2.8.1, each as narrow as possible and only for that version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from tasks.engine.paddle.runtime import Tensor, import_paddle, import_paddlenlp
from tasks.errors import ExportError

PADDLENLP = "2.8.1"


@contextmanager
def transferring_plain_tensors() -> Iterator[None]:
    """Patch PaddleNLP so that `FasterUNIMOText` can be created on any device and in half precision.

    Its constructor passes every weight through `transfer_param`
    (paddlenlp/ops/fast_transformer/transformer/decoding.py), which makes a copy by calling
    `type(p)` with a shape. That works for parameters. The matrices that PaddleNLP concatenates
    itself (queries, keys and values in one) are plain tensors, for which this raises unless they
    are already on a GPU and in the wanted precision. Here they are cast instead, by NumPy as
    parameters are: it rounds to nearest, Paddle's cast on the CPU towards 0. They also get names,
    because their own names count all tensors that the process has created.

    Raises:
        ExportError: a version of PaddleNLP is installed that this was not tested with.
    """
    found = version("paddlenlp")
    if found != PADDLENLP:
        raise ExportError(
            f"FasterTransformer needs PaddleNLP {PADDLENLP}, but {found} is installed; "
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
