"""The native engine's graphs and Paddle for GPUs, as far as this can be tested without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import pad_rows, probe_rows
from tasks.engine.contract import read_contract
from tasks.engine.export.native import export_native
from tasks.engine.export.optimize import optimize_export
from tasks.engine.export.tensorrt import ShapeRange
from tasks.engine.inference.predictor import WRONG_PASSES, make_config
from tasks.engine.inference.session import to_arrays
from tasks.engine.paddle.generations.paddle2 import protobuf, read_program
from tasks.engine.paddle.runtime import Untyped, import_paddle
from tasks.engine.program.protobuf import Variables, arguments, has_block
from tests.support.engine_reference import Recipe, make_checkpoint

pytestmark = pytest.mark.gpu_wheel

SEARCHES = {
    "beams": DecodeSettings(num_beams=2, max_dec_len=4, repetition_penalty=1.2, diversity_rate=0.5),
    "sampling": DecodeSettings(
        decoding_strategy="sampling", topk=3, topp=0.8, temperature=0.7, max_dec_len=4
    ),
    "greedy": DecodeSettings(decoding_strategy="greedy_search", max_dec_len=4),
}
WITHOUT_KERNELS = {"feed", "fetch", "while"}


@pytest.fixture(scope="module", params=SEARCHES)
def exports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The plain export, the one in half precision and the one for TensorRT."""
    folder = tmp_path_factory.mktemp("exports")
    checkpoint = make_checkpoint(folder / "checkpoint", Recipe(1, hidden_act="gelu"))
    found = {name: folder / name for name in ("plain", "half", "tensorrt")}
    for path in found.values():
        path.mkdir()
    export_native(checkpoint, SEARCHES[request.param], found["plain"])
    optimize_export(found["plain"], found["half"], is_half=True, shapes=None)
    shapes = ShapeRange(rows=2, tokens=20, most_tokens=40)
    optimize_export(found["plain"], found["tensorrt"], is_half=False, shapes=shapes)
    return found


def kernels_of_gpus(paddle: Untyped) -> dict[str, str]:
    kernels = paddle.base.core._get_registered_phi_kernels("all")
    return {
        name: " ".join(one for one in found if one.startswith("(GPU"))
        for name, found in kernels.items()
    }


def missing_kernels(model_file: Path) -> Iterator[tuple[str, str]]:
    """Yield the operators without a GPU kernel, each with the type that lacks one."""
    paddle, program = import_paddle(), read_program(model_file)
    kernels, variables = kernels_of_gpus(paddle), Variables(program)
    types = protobuf().VarType.Type
    names = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
    for operator in (one for block in program.blocks for one in block.ops):
        if operator.type in WITHOUT_KERNELS or has_block(operator):
            continue
        found = kernels.get(paddle.base.core._get_phi_kernel_name(operator.type), "")
        taken = [variables.type_of(name) for _slot, name in arguments(operator.inputs)]
        floats = {names.get(types.Name(one)) for one in taken if one is not None} - {None}
        for kind in floats or {"GPU"}:
            if str(kind) not in found:
                yield operator.type, str(kind)


@pytest.mark.parametrize("name", ["plain", "half", "tensorrt"])
def test_every_operator_has_a_kernel_for_gpus(exports: dict[str, Path], name: str) -> None:
    model_file = exports[name] / read_contract(exports[name]).model_file
    assert set(missing_kernels(model_file)) == set()


def test_what_paddle_does_to_a_graph_on_a_gpu_is_not_done_where_it_is_wrong(
    exports: dict[str, Path],
) -> None:
    folder = exports["plain"]
    contract = read_contract(folder)
    config = make_config(folder, contract, PredictSettings(device="gpu"), "gpu:0")
    passes = config.pass_builder().all_passes()
    assert len(passes) > 20
    assert not set(WRONG_PASSES) & set(passes)


def test_one_of_these_would_take_the_embeddings(exports: dict[str, Path]) -> None:
    folder = exports["plain"]
    contract = read_contract(folder)
    inference = import_paddle().inference
    files = (folder / contract.model_file, folder / contract.params_file)
    config = inference.Config(*map(str, files))
    config.disable_gpu()
    config.pass_builder().append_pass(WRONG_PASSES[0])
    batch = pad_rows(probe_rows(contract), contract.special_tokens.pad)
    with pytest.raises(Exception, match="fused_embedding_eltwise_layernorm"):  # not for the CPU
        run(inference.create_predictor(config), to_arrays(batch, contract))


def run(predictor: Untyped, arrays: dict[str, Untyped]) -> None:
    for name, array in arrays.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
