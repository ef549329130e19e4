"""The equivalence check: an optimized export is committed only if it reproduces the float32 one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.loading import load_settings
from tasks.engine.batch import Generated
from tasks.engine.contract import PARAMS_FILE, read_contract
from tasks.engine.export.equivalence import (
    LARGEST_DIFFERENCE,
    LEAST_SHARE,
    Reproduction,
    compare,
    find_problems,
)
from tasks.engine.export.optimize import optimize_export
from tasks.engine.export.tensorrt import SHAPES_FILE, ShapeRange
from tasks.engine.paddle.generations.paddle2 import read_program
from tasks.engine.program.weights import Weight, change_weights
from tasks.errors import ExportError, InputError
from tasks.export.build import find_export
from tasks.export.task import export_model
from tasks.plan.plan import Plan, make_plan
from tasks.store.claims import Claims
from tests.support.engine_reference import Recipe, make_checkpoint
from tests.support.half_on_cpu import check_on_cpu
from tests.support.rehearsal import ROOT

STEPS = 5


@st.composite
def generations(draw: st.DrawFn) -> Generated:
    rows, count = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens = rng.integers(0, 9, (rows, count, STEPS)).astype(np.int32)
    return Generated(tokens, rng.normal(scale=3, size=(rows, count)).astype(np.float32))


@given(generations())
def test_an_export_reproduces_itself(generated: Generated) -> None:
    found = compare(generated, generated)
    assert (found.rows, found.identical, found.difference) == (len(generated.tokens),) * 2 + (0,)
    assert find_problems(found) == []


@given(generations(), st.data())
def test_rows_with_another_best_question_are_counted_whatever_their_scores(
    expected: Generated, data: st.DataObject
) -> None:
    rows = len(expected.tokens)
    changed = data.draw(st.sets(st.integers(0, rows - 1)))
    tokens, scores = expected.tokens.copy(), expected.scores.copy()
    for row in changed:
        place = data.draw(st.integers(0, STEPS - 1))
        tokens[row, 0, place] += 1
        scores[row] = data.draw(st.sampled_from([0.0, 1e9, -1e9]))
    tokens[:, 1:] += 1  # only the best question of a row is compared
    found = compare(expected, Generated(tokens, scores))
    assert (found.identical, found.difference) == (rows - len(changed), 0)
    is_refused = len(changed) > rows * (1 - LEAST_SHARE)
    assert bool(find_problems(found)) == is_refused


@given(generations(), st.floats(0, 1, allow_subnormal=False), st.data())
def test_the_largest_difference_of_scores_is_found(
    expected: Generated, difference: float, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(expected.tokens) - 1))
    scores = expected.scores.astype(np.float64)
    scores[row, 0] += difference * max(1.0, abs(scores[row, 0]))
    found = compare(expected, Generated(expected.tokens, scores))  # type: ignore[arg-type]
    assert math.isclose(found.difference, difference, rel_tol=1e-9, abs_tol=1e-9)
    assert bool(find_problems(found)) == (found.difference > LARGEST_DIFFERENCE)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    assert find_problems(Reproduction(9, 9, math.nan))
    assert find_problems(Reproduction(9, 9, math.inf))


def test_a_refusal_names_both_figures_and_what_they_had_to_be() -> None:
    share, difference = find_problems(Reproduction(200, 197, 0.25))
    assert "197 of 200 questions are the same as in float32, 98.5 %; at least 99 %" in share
    assert "0.25" in difference
    assert "0.1" in difference


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose best questions are clearly better than the others."""
    recipe = Recipe(0, vocab_size=60, num_hidden_layers=1, gain=1.0, sharpness=4.0)
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), recipe)


def plan_export(checkpoint: Path, folder: Path, *overrides: str) -> Plan:
    """Plan an optimized export for the CPU, where it is slower; the preflight rejects this."""
    words = (checkpoint / "vocab.txt").read_text(encoding="utf-8").splitlines()[6:]
    tokens = [word.partition("\t")[0] for word in words]
    passages = [
        {"context": "".join(tokens[start:]), "answer": tokens[start]} for start in range(40)
    ]
    (folder / "passages.jsonl").write_text("\n".join(map(json.dumps, passages)), encoding="utf-8")
    asked = [
        f"store.path={folder / 'store'}",
        f"dataset.predict_file={folder / 'passages.jsonl'}",
        "dataset.max_seq_len=64",
        "decode.num_beams=2",
        "decode.max_dec_len=6",
        "predict.batch_size=8",
    ]
    settings = load_settings(ROOT / "configs/demo.yaml", [*asked, *overrides])
    return make_plan(settings, checkpoint)


def ruin(plain: Path, folder: Path, is_half: bool, shapes: ShapeRange | None) -> None:
    """Optimize an export, but round each weight to a power of two."""
    optimize_export(plain, folder, is_half, shapes)
    program = read_program(folder / read_contract(folder).model_file)

    def round_coarsely(_name: str, weight: Weight) -> Weight:
        powers = np.clip(np.round(np.log2(np.abs(weight) + 1e-9)), -3, 0)
        return (np.sign(weight) * np.exp2(powers)).astype(weight.dtype)

    change_weights(folder / PARAMS_FILE, program, round_coarsely)


@pytest.mark.paddle2
def test_an_export_in_half_precision_is_committed_with_its_figures(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.export.build.check_equivalence", check_on_cpu)
    plan = plan_export(checkpoint, tmp_path, "predict.precision=fp16")
    made = export_model(plan, Claims(plan.store.claims_folder)).manifest
    figures = made.details["reproduction"]
    assert figures["rows"] == 40
    assert figures["identical"] >= LEAST_SHARE * 40
    assert 0 < figures["difference"] <= LARGEST_DIFFERENCE
    assert figures["sample"]["kind"] == ".jsonl"
    assert read_contract(plan.export.folder).precision == "fp16"
    assert sorted(path.name for path in plan.export.folder.iterdir()) == [
        "contract.json",
        "manifest.json",
        "unimo_text.pdiparams",
        "unimo_text.pdmodel",
    ]
    again = export_model(plan, Claims(plan.store.claims_folder))
    assert again.made.is_reused
    assert again.manifest == made
    monkeypatch.setattr("tasks.engine.export.equivalence.LARGEST_DIFFERENCE", -1.0)
    stricter = find_export(plan)  # the limits of today decide, also for a reused export
    assert stricter.manifest is None
    assert "the score of a question differs" in (stricter.damage or "")


@pytest.mark.paddle2
def test_an_export_that_writes_something_else_is_refused_and_nothing_is_left_of_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.export.build.optimize_export", ruin)
    monkeypatch.setattr("tasks.export.build.check_equivalence", check_on_cpu)
    plan = plan_export(checkpoint, tmp_path, "export.use_fp16_decoding=true")
    with pytest.raises(ExportError) as caught:
        export_model(plan, Claims(plan.store.claims_folder))
    message = str(caught.value)
    for part in ("of 40 questions are the same as in float32", "99 %", "use_fp16_decoding: false"):
        assert part in message, part
    assert not plan.export.folder.exists()
    assert not plan.export.is_there


@pytest.mark.paddle2
def test_an_export_for_tensorrt_carries_its_shapes(checkpoint: Path, tmp_path: Path) -> None:
    plan = plan_export(checkpoint, tmp_path, "predict.use_tensorrt=true")
    made = export_model(plan, Claims(plan.store.claims_folder)).manifest
    assert SHAPES_FILE in [entry.name for entry in made.files]
    assert made.details["reproduction"]["identical"] == 40
    assert plan.export.find().state == "made"


def test_without_a_usable_row_nothing_can_be_tried(checkpoint: Path, tmp_path: Path) -> None:
    plan = plan_export(checkpoint, tmp_path, "predict.precision=fp16")
    (tmp_path / "passages.jsonl").write_text('{"context": "Paris", "answer": ""}\n')
    with pytest.raises(InputError, match="no row of the passages is usable"):
        export_model(plan, Claims(plan.store.claims_folder))
    assert not plan.export.folder.exists()


def test_what_the_precision_decides(checkpoint: Path, tmp_path: Path) -> None:
    plain, baked, asked, tensorrt, both = (
        plan_export(checkpoint, tmp_path, *overrides).export.fingerprint
        for overrides in (
            (),
            ("export.use_fp16_decoding=true",),
            ("predict.precision=fp16",),
            ("predict.use_tensorrt=true",),
            ("predict.use_tensorrt=true", "predict.precision=fp16"),
        )
    )
    assert baked == asked
    assert len({plain, baked, tensorrt}) == 3
    assert both != plain
