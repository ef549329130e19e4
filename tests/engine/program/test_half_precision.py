"""Half precision without a GPU: what is float16 in the graph, and the effect on questions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Batch, Generated, Row, pad_rows
from tasks.engine.contract import MODEL_FILE, PARAMS_FILE, TensorSpec, read_contract
from tasks.engine.export.native import export_native
from tasks.engine.export.optimize import optimize_export
from tasks.engine.export.saving import save_graph
from tasks.engine.inference.session import Session
from tasks.engine.paddle.generations.paddle2 import read_program
from tasks.engine.paddle.runtime import Untyped, import_paddle
from tasks.engine.program.half_precision import halve, halve_program
from tasks.engine.program.protobuf import Variables, arguments, float_types, has_block
from tasks.engine.program.weights import read_weights
from tasks.errors import ExportError, StoreCorruptionError
from tests.support.engine_reference import CLS, Recipe, make_checkpoint
from tests.support.half_on_cpu import make_runnable_on_cpu, run_halves_on_cpu

pytestmark = pytest.mark.paddle2

ON_CPU = PredictSettings(device="cpu", cpu_threads=1)
SEARCHES = {
    "beams": DecodeSettings(num_beams=3, max_dec_len=8),
    "sampling": DecodeSettings(
        decoding_strategy="sampling", topk=5, topp=0.9, num_return_sequences=2, max_dec_len=8
    ),
    "greedy, penalised": DecodeSettings(num_beams=1, max_dec_len=6, repetition_penalty=1.3),
}
MODELS = {
    "relu": Recipe(3, sharpness=3.0),
    "gelu, normalized before": Recipe(4, hidden_act="gelu", normalize_before=True),
    "one layer": Recipe(5, num_hidden_layers=1),
}


def export_both(recipe: Recipe, decode: DecodeSettings, folder: Path) -> tuple[Path, Path]:
    """Return the folders of a plain export and of the same export in half precision."""
    checkpoint = make_checkpoint(folder / "checkpoint", recipe)
    plain, half = folder / "plain", folder / "half"
    plain.mkdir()
    half.mkdir()
    export_native(checkpoint, decode, plain)
    optimize_export(plain, half, is_half=True, shapes=None)
    return plain, half


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("exports")
    return export_both(MODELS["relu"], SEARCHES["beams"], folder)


def answer(folder: Path, batch: Batch) -> Generated:
    return Session(folder, read_contract(folder), ON_CPU, "cpu").run(batch)


def some_rows(count: int) -> Batch:
    rng = np.random.default_rng(7)
    lengths = rng.integers(2, 60, count).tolist()
    rows = [
        Row([*rng.integers(5, 400, length - 1).tolist(), CLS], [0] * (length - 1) + [1], number)
        for number, length in enumerate(lengths)
    ]
    return pad_rows(rows, 0)


def operators_of(program: Untyped) -> Iterator[Untyped]:
    for block in program.blocks:
        yield from block.ops


@pytest.mark.parametrize(
    ("model", "search"),
    [
        ("relu", "sampling"),
        ("gelu, normalized before", "beams"),
        ("one layer", "greedy, penalised"),
    ],
)
def test_models_and_searches_work_in_half_precision(
    model: str, search: str, tmp_path: Path
) -> None:
    plain, half = export_both(MODELS[model], SEARCHES[search], tmp_path)
    batch = some_rows(24)
    make_runnable_on_cpu(half, tmp_path / "half on the CPU")
    expected, found = answer(plain, batch), answer(tmp_path / "half on the CPU", batch)
    assert found.scores.dtype == np.float32
    assert np.isfinite(found.scores).all()
    same = (found.tokens == expected.tokens).all(axis=(1, 2))
    assert same.mean() > 0.7  # the models are random, so many questions are near ties
    assert np.allclose(found.scores[same], expected.scores[same], rtol=0.02, atol=0.1)
    assert not np.array_equal(found.scores, expected.scores)  # it does use half precision


def test_every_operator_takes_floats_of_one_type(exports: tuple[Path, Path]) -> None:
    program = read_program(exports[1] / MODEL_FILE)
    variables, types = Variables(program), set(float_types())
    for operator in operators_of(program):
        if has_block(operator) or operator.type == "cast":
            continue
        sides = (operator.inputs, operator.outputs)
        slots = [pair for side in sides for pair in arguments(side)]
        found = {variables.type_of(name) for slot, name in slots if slot != "XShape"} & types
        assert len(found) < 2, (operator.type, slots)


def test_a_cast_says_what_it_takes_and_gives(exports: tuple[Path, Path]) -> None:
    program = read_program(exports[1] / MODEL_FILE)
    variables = Variables(program)
    casts = [one for one in operators_of(program) if one.type == "cast"]
    assert casts
    for operator in casts:
        said = {one.name: one.i for one in operator.attrs}
        for slots, name in ((operator.inputs, "in_dtype"), (operator.outputs, "out_dtype")):
            ((_slot, variable),) = arguments(slots)
            assert variables.type_of(variable) == said[name], variable


def test_products_of_the_layers_are_half_and_logits_sums_and_logarithms_are_not(
    exports: tuple[Path, Path],
) -> None:
    program = read_program(exports[1] / MODEL_FILE)
    variables, (half, single) = Variables(program), float_types()
    for operator in operators_of(program):
        given = {variables.type_of(name) for _slot, name in arguments(operator.outputs)}
        taken = {name for _slot, name in arguments(operator.inputs)}
        if operator.type in {"fc", "scatter_nd_add"}:
            assert given == {half}
        elif operator.type == "matmul_v2":
            has_weight = any(map(variables.is_weight, taken))
            assert given == ({single} if has_weight else {half})
        elif operator.type in {
            "log",
            "layer_norm",
            "elementwise_add",
            "top_k_v2",
            "lookup_table_v2",
        }:
            assert half not in given


def test_the_weights_of_the_layers_are_rounded_once_and_the_others_kept(
    exports: tuple[Path, Path],
) -> None:
    plain, half = (
        dict(read_weights(folder / PARAMS_FILE, read_program(folder / MODEL_FILE)))
        for folder in exports
    )
    rounded = {name for name, weight in half.items() if weight.dtype == np.float16}
    of_layers = {name for name in plain if name.startswith("layers.") and ".norm" not in name}
    assert rounded == of_layers
    for name, weight in plain.items():
        expected = weight.astype(np.float16) if name in rounded else weight
        assert np.array_equal(half[name], expected), name


def test_the_same_files_come_out_each_time(exports: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    optimize_export(exports[0], again, is_half=True, shapes=None)
    assert len(list(again.iterdir())) == 3
    for path in again.iterdir():
        assert path.read_bytes() == (exports[1] / path.name).read_bytes(), path.name


def test_the_contract_says_half_precision_and_a_plain_one_is_as_it_always_was(
    exports: tuple[Path, Path],
) -> None:
    plain, half = map(read_contract, exports)
    assert (plain.precision, half.precision) == (None, "fp16")
    assert half.model_copy(update={"precision": None}) == plain
    assert "precision" not in (exports[0] / "contract.json").read_text()


def test_a_graph_whose_cache_would_be_in_both_is_refused(exports: tuple[Path, Path]) -> None:
    program = read_program(exports[0] / MODEL_FILE)
    for operator in operators_of(program):
        if operator.type == "concat":
            operator.type = "unknown"
    with pytest.raises(ExportError, match="would need both precisions"):
        halve_program(program)


def test_weights_that_are_not_those_of_the_graph_are_damage(
    exports: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(exports[0], tmp_path / "copy")
    whole = (copy / PARAMS_FILE).read_bytes()
    for wrong in (b"", whole[:100], whole[:-1], whole + b"\0", b"\1" + whole[1:]):
        (copy / PARAMS_FILE).write_bytes(wrong)
        with pytest.raises(StoreCorruptionError):
            halve(copy / MODEL_FILE, copy / PARAMS_FILE)


def test_an_operator_takes_rounded_numbers_adds_up_in_float32_and_rounds_the_result(
    tmp_path: Path,
) -> None:
    paddle = import_paddle()
    from tasks.engine.paddle.api import fully_connected

    class OneProduct(paddle.nn.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = paddle.nn.Linear(70, 30)

        def forward(self, hidden: Untyped) -> Untyped:
            return self.multiply(hidden)

        @paddle.jit.not_to_static  # type: ignore[untyped-decorator]
        def multiply(self, hidden: Untyped) -> Untyped:
            return fully_connected(hidden, self.linear)

    paddle.seed(1)
    layer = OneProduct()
    weight, bias = layer.linear.weight.numpy(), layer.linear.bias.numpy()
    spec = TensorSpec(name="x", variable="x", dtype="float32", shape=("batch", 4, 70))
    save_graph(lambda: layer, [spec], tmp_path / MODEL_FILE)
    halve(tmp_path / MODEL_FILE, tmp_path / PARAMS_FILE)
    program = read_program(tmp_path / MODEL_FILE)
    run_halves_on_cpu(program)
    (tmp_path / MODEL_FILE).write_bytes(program.SerializeToString())
    taken = np.random.default_rng(2).normal(size=(3, 4, 70)).astype(np.float32)
    rounded = [one.astype(np.float16).astype(np.float32) for one in (taken, weight, bias)]
    product = (rounded[0] @ rounded[1] + rounded[2]).astype(np.float16)
    found = run_graph(paddle, tmp_path, taken)
    assert np.abs(found - product).max() <= np.spacing(np.float16(np.abs(product).max()))
    assert (
        found == product
    ).mean() > 0.99  # a different order of summation rarely rounds differently
    exact = taken @ weight + bias
    assert np.abs(found - exact).max() > 0


def run_graph(paddle: Untyped, folder: Path, taken: Untyped) -> Untyped:
    config = paddle.inference.Config(str(folder / MODEL_FILE), str(folder / PARAMS_FILE))
    config.disable_gpu()
    config.disable_mkldnn()
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle("x").copy_from_cpu(taken)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
