"""Saving and running graphs with the installed generation of Paddle.

`PaddleApi` is what differs between generations; both modules in `tasks.engine.paddle.generations`
have these functions, and the names at the end of this module are those of the installed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tasks.engine.paddle.generations import paddle2, paddle3
from tasks.engine.paddle.generations.generation import PADDLE3, find_generation
from tasks.engine.paddle.runtime import Tensor, Untyped

PARAMS_SUFFIX = ".pdiparams"


class PaddleApi(Protocol):
    """The functions of a generation."""

    def output_variable(self, number: int, /) -> str:
        """Return the variable name of an output of a saved graph; numbers start at 0."""

    def save_layer(self, layer: Untyped, specs: Sequence[Untyped], model_file: Path, /) -> None:
        """Trace a layer and save it; equal layers with equal names give equal bytes.

        Args:
            layer: a layer in evaluation mode, with a `forward`.
            specs: `paddle.static.InputSpec` of each argument.
            model_file: ends in the generation's suffix; the weights are saved beside it, with
                `PARAMS_SUFFIX`.
        """

    def fully_connected(self, hidden: Tensor, linear: Untyped, /) -> Tensor:
        """Return hidden weight + bias, for float32 [B, N, E] and a `paddle.nn.Linear`.

        It is one operator: Paddle Inference's passes would fuse two, but not inside a loop.
        """

    def add_in_place(self, cache: Tensor, slots: Tensor, update: Tensor, /) -> None:
        """Add `update` [B, H, K, D] to `slots` of `cache` [B, H, W, D], without a copy.

        This works only in a graph that is being traced.

        Args:
            cache: the tensor that is changed.
            slots: int64 [B, H, K, 3] (row, head, slot), the same slots for all rows and heads.
            update: what is added.
        """

    def inference_config(self, model_file: Path, params_file: Path, /) -> Untyped:
        """Return Paddle Inference's options for a saved graph, without its log output."""

    def save_memory(self, config: Untyped, /) -> None:
        """Enable the pass that makes the tensors of a graph share memory, if there is one."""

    def write_in_place(self, config: Untyped, /) -> None:
        """Enable the pass that makes operators such as reshape work in place, if it is needed.

        Not for TensorRT's graphs: it rejects variables that are written twice.
        """


def _choose() -> PaddleApi:
    return paddle3 if find_generation() is PADDLE3 else paddle2


_INSTALLED = _choose()
MODEL_SUFFIX = find_generation().model_suffix
output_variable = _INSTALLED.output_variable
save_layer = _INSTALLED.save_layer
fully_connected = _INSTALLED.fully_connected
add_in_place = _INSTALLED.add_in_place
inference_config = _INSTALLED.inference_config
save_memory = _INSTALLED.save_memory
write_in_place = _INSTALLED.write_in_place
