"""TensorRT, tested without it: the graph that it gets, and the shapes that it is built for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import pad_rows, probe_rows
from tasks.engine.contract import Contract, read_contract
from tasks.engine.export.native import export_native
from tasks.engine.export.optimize import optimize_export
from tasks.engine.export.tensorrt import SHAPES_FILE, ShapeRange, find_tensorrt_faults
from tasks.engine.inference.predictor import load_predictor
from tasks.engine.inference.session import Session
from tasks.engine.paddle.generations.paddle2 import read_program
from tasks.errors import DeviceError
from tests.support.engine_reference import Recipe, make_checkpoint

pytestmark = pytest.mark.paddle2

ON_CPU = PredictSettings(device="cpu", cpu_threads=1)
RANGE = ShapeRange(rows=6, tokens=40, most_tokens=120)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The plain export and the one for TensorRT."""
    folder = tmp_path_factory.mktemp("exports")
    checkpoint = make_checkpoint(folder / "checkpoint", Recipe(6, vocab_size=80, hidden_size=16))
    plain, tuned = folder / "plain", folder / "tuned"
    plain.mkdir()
    tuned.mkdir()
    export_native(checkpoint, DecodeSettings(num_beams=2, max_dec_len=4), plain)
    optimize_export(plain, tuned, is_half=False, shapes=RANGE)
    return plain, tuned


def test_the_export_for_tensorrt_answers_as_the_plain_one(exports: tuple[Path, Path]) -> None:
    answers = []
    for folder in exports:
        contract = read_contract(folder)
        batch = pad_rows(probe_rows(contract), contract.special_tokens.pad)
        answers.append(Session(folder, contract, ON_CPU, "cpu").run(batch))
    assert answers[0].tokens.tolist() == answers[1].tokens.tolist()
    assert np.allclose(answers[0].scores, answers[1].scores, atol=1e-5)


def test_outside_of_the_loop_no_layer_is_an_operator_that_tensorrt_lacks(
    exports: tuple[Path, Path],
) -> None:
    contract = read_contract(exports[1])
    plain, tuned = (read_program(folder / contract.model_file) for folder in exports)
    kinds = [[operator.type for operator in block.ops] for block in (*plain.blocks, *tuned.blocks)]
    main, loop, suited, same_loop = kinds
    dense = main.count("fc")
    assert dense > 0
    assert "fc" not in suited
    assert suited.count("matmul_v2") - main.count("matmul_v2") == dense
    assert same_loop == loop


def collected(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Read the file of shapes: the minimum, maximum and optimum shape of each variable."""
    found = {}
    for part in (folder / SHAPES_FILE).read_text().split("shape_range_info")[1:]:
        name = re.findall(r'name: "(.*)"', part)[0]
        found[name] = {
            kind: [int(size) for size in re.findall(rf"{kind}_shape: (\d+)", part)]
            for kind in ("min", "max", "opt")
        }
    return found


def test_the_shapes_span_the_batches_of_a_run(exports: tuple[Path, Path]) -> None:
    shapes = collected(exports[1])
    assert shapes["input_ids"] == {"min": [1, 2], "max": [6, 40], "opt": shapes["input_ids"]["opt"]}
    assert shapes["seq_len"]["max"] == [6]
    weights = {"layers.0.linear1.weight", "head_bias"}
    program = read_program(exports[1] / "unimo_text.pdmodel")
    given = {
        name
        for operator in program.blocks[0].ops
        if operator.type in {"matmul_v2", "softmax", "layer_norm"}
        for slot in operator.inputs
        for name in slot.arguments
    }
    assert len(given) > 20
    assert given <= set(shapes) | weights | {name for name in given if name.startswith("layers.")}


def test_the_shapes_are_collected_alike_each_time(
    exports: tuple[Path, Path], tmp_path: Path
) -> None:
    optimize_export(exports[0], tmp_path, is_half=False, shapes=RANGE)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (exports[1] / path.name).read_bytes(), path.name


@given(st.integers(1, 300), st.integers(8, 512), st.integers(1, 20_000))
def test_the_corners_reach_the_limits_and_no_batch_is_larger_than_a_run_makes(
    rows: int, tokens: int, most_tokens: int
) -> None:
    corners = ShapeRange(rows, tokens, most_tokens).corners()
    assert max(count for count, _length in corners) == rows
    assert max(length for _count, length in corners) == tokens
    for count, length in corners:
        assert count <= rows
        assert 2 <= length <= tokens
        assert count * length <= most_tokens or count == 1 or length == 2


@pytest.mark.skipif(not find_tensorrt_faults(), reason="this machine has TensorRT")
def test_asked_for_and_not_there_is_told() -> None:
    (fault,) = find_tensorrt_faults()
    assert fault.key == "predict.use_tensorrt"
    assert "use_tensorrt: false" in fault.remedy


@pytest.mark.skipif(not find_tensorrt_faults(), reason="this machine has TensorRT")
def test_without_tensorrt_no_model_is_loaded_for_it(exports: tuple[Path, Path]) -> None:
    contract: Contract = read_contract(exports[1])
    asked = PredictSettings(device="gpu", use_tensorrt=True)
    with pytest.raises(DeviceError, match="use_tensorrt: false"):
        load_predictor(exports[1], contract, asked, "gpu:0", threads=1)
