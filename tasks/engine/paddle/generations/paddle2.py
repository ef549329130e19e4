"""Paddle 2.6: graphs are programs in protobuf, which `tasks.engine.program` can rewrite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from tasks.engine.paddle.runtime import Tensor, Untyped, import_paddle, quiet


def output_variable(number: int) -> str:
    """Return the variable name of an output of a saved graph."""
    return f"save_infer_model/scale_{number}.tmp_0"


def save_layer(layer: Untyped, specs: Sequence[Untyped], model_file: Path) -> None:
    """Trace a layer and save it."""
    jit = import_paddle().jit
    with quiet(), _without_stacks():
        traced = jit.to_static(layer, input_spec=list(specs), full_graph=True)
        jit.save(traced, str(model_file.with_suffix("")))
    model_file.with_suffix(".pdiparams.info").unlink(missing_ok=True)
    _make_reproducible(model_file)


@contextmanager
def _without_stacks() -> Iterator[None]:
    """Trace graphs without Python's stack, in this block: half of the time of an export.

    Paddle reads it, with the lines of source, for each operator, and again for each warning of
    arithmetic. Nothing needs it: `_make_reproducible` removes what is stored with operators.
    """
    base = import_paddle().base
    operators, arithmetic = base.framework, base.layers.math_op_patch
    kept = operators.traceback, arithmetic.inspect
    operators.traceback = SimpleNamespace(extract_stack=list)
    arithmetic.inspect = SimpleNamespace(stack=lambda: [(None, "", 0)] * 2)
    try:
        yield
    finally:
        operators.traceback, arithmetic.inspect = kept


def _make_reproducible(model_file: Path) -> None:
    """Remove from a saved graph what depends on the process and the folder that made it.

    Paddle stores with each operator the Python stack that created it (`_without_stacks` leaves an
    empty one), and writes attributes, and the loop's inputs and outputs, in the order of a hash
    table.
    """
    program = read_program(model_file)
    for block in program.blocks:
        for operator in block.ops:
            kept = [attr for attr in operator.attrs if attr.name != "op_callstack"]
            del operator.attrs[:]
            operator.attrs.extend(sorted(kept, key=lambda attr: attr.name))
            if operator.type == "while":
                for variables in (*operator.inputs, *operator.outputs):
                    variables.arguments.sort()
    write_program(program, model_file)


def protobuf() -> Untyped:
    """Return the module of Paddle's protobuf classes."""
    return import_paddle().base.proto.framework_pb2


def read_program(path: Path) -> Untyped:
    """Read a saved graph, a `ProgramDesc`."""
    return protobuf().ProgramDesc.FromString(path.read_bytes())


def write_program(program: Untyped, path: Path) -> None:
    """Write a `ProgramDesc`; equal graphs give equal bytes."""
    path.write_bytes(program.SerializeToString(deterministic=True))


def fully_connected(hidden: Tensor, linear: Untyped) -> Tensor:
    """Return hidden weight + bias.

    The operator could also compute relu; on the CPU that takes several times as long as a separate
    relu.
    """
    helper = import_paddle().base.layer_helper.LayerHelper("dense")
    output = helper.create_variable_for_type_inference(hidden.dtype)
    helper.append_op(
        type="fc",
        inputs={"Input": [hidden], "W": [linear.weight], "Bias": [linear.bias]},
        outputs={"Out": [output]},
        attrs={"in_num_col_dims": 2, "activation_type": ""},
    )
    return output


def add_in_place(cache: Tensor, slots: Tensor, update: Tensor) -> None:
    """Add `update` to `slots`: the operator's output is its input."""
    import_paddle().base.layer_helper.LayerHelper("write_slots").append_op(
        type="scatter_nd_add",
        inputs={"X": [cache], "Index": [slots], "Updates": [update]},
        outputs={"Out": [cache]},
    )


def inference_config(model_file: Path, params_file: Path) -> Untyped:
    """Return Paddle Inference's options for a saved graph."""
    config = import_paddle().inference.Config(str(model_file), str(params_file))
    config.disable_glog_info()
    return config


def save_memory(config: Untyped) -> None:
    """Enable the pass that makes the tensors of a graph share memory."""
    config.enable_memory_optim()


def write_in_place(config: Untyped) -> None:
    """Enable the pass that makes operators such as reshape work in place."""
    config.pass_builder().append_pass("inplace_op_var_pass")
