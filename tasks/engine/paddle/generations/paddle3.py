"""Paddle 3: graphs are JSON files of its intermediate representation, PIR."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.engine.paddle.generations import paddle2
from tasks.engine.paddle.generations.generation import PADDLE2
from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle, quiet

NO_LAYER = {"#": "0.a_str", "D": "/"}
"""An attribute of the saved graph: the text `/`, the scope outside all layers."""


def output_variable(number: int) -> str:
    """Return the variable name of an output of a saved graph."""
    return f"fetch_name_{number}"


def save_layer(layer: Untyped, specs: Sequence[Untyped], model_file: Path) -> None:
    """Trace a layer and save it."""
    jit = import_paddle().jit
    with quiet():
        traced = jit.to_static(layer, input_spec=list(specs), full_graph=True)
        jit.save(traced, str(model_file.with_suffix("")))
    _make_reproducible(model_file)


def _make_reproducible(model_file: Path) -> None:
    """Remove from a saved graph what depends on the process that made it.

    Paddle stores with each operator the names of the layers that it is in, which count the layers
    that the process has created.
    """

    def clean(node: dict[str, Any]) -> dict[str, Any]:
        return {**node, "AT": NO_LAYER} if node.get("N") == "struct_name" else node

    graph = json.loads(model_file.read_bytes(), object_hook=clean)
    model_file.write_text(json.dumps(graph, separators=(",", ":")), encoding="ascii")


def fully_connected(hidden: Tensor, linear: Untyped) -> Tensor:
    """Return hidden weight + bias."""
    operators = import_paddle()._C_ops
    return operators.fc(hidden, linear.weight, linear.bias, 2, "", False)


def add_in_place(cache: Tensor, slots: Tensor, update: Tensor) -> None:
    """Add `update` to `slots`, by their numbers: `index_put_` takes five times as long."""
    import_paddle()._C_ops.index_add_(cache, slots[0, 0, :, 2], update, 2)


def inference_config(model_file: Path, params_file: Path) -> Untyped:
    """Return Paddle Inference's options for a saved graph."""
    return paddle2.inference_config(model_file, params_file)


def save_memory(config: Untyped) -> None:
    """Enable the pass for graphs of Paddle 2; there is none for others."""
    if _is_of_paddle2(config):
        paddle2.save_memory(config)
    else:
        config.enable_memory_optim(False)


def write_in_place(config: Untyped) -> None:
    """Enable the pass for graphs of Paddle 2; others are always run so."""
    if _is_of_paddle2(config):
        paddle2.write_in_place(config)


def _is_of_paddle2(config: Untyped) -> bool:
    return str(config.prog_file()).endswith(PADDLE2.model_suffix)
