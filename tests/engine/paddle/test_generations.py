"""The generations of Paddle: which is installed, and what is refused with each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.config.loading import load_settings
from tasks.config.settings import PredictSettings
from tasks.doctor.preflight import find_config_faults
from tasks.engine.batch import pad_rows, probe_rows
from tasks.engine.contract import read_contract
from tasks.engine.gpu.fat_binaries import Kernels
from tasks.engine.inference.session import Session
from tasks.engine.paddle import devices, installation
from tasks.engine.paddle.generations.generation import (
    PADDLE2,
    PADDLE3,
    Generation,
    find_generation,
    find_paddlenlp_faults,
    generation_of,
)
from tasks.engine.paddle.installation import (
    GPU_PACKAGE,
    PaddleBuild,
    find_cuda,
    find_kernels,
    find_missing_packages,
)
from tasks.plan import given_export
from tests.support.rehearsal import ROOT

KEPT = ROOT / "tests/kept_export"
ON_CPU = PredictSettings(device="cpu", cpu_threads=1)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [([], PADDLE2), (["2.6.2"], PADDLE2), (["3.3.1"], PADDLE3), (["3.1.0"], PADDLE3)],
)
def test_the_version_tells_the_generation(versions: list[str], expected: Generation) -> None:
    assert generation_of([PaddleBuild("paddlepaddle", one) for one in versions]) is expected


def test_a_paddlenlp_of_another_generation_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_paddlenlp_faults() == []
    module = "tasks.engine.paddle.generations.generation"
    monkeypatch.setattr(f"{module}.find_version", lambda package: f"another {package}")
    (fault,) = find_paddlenlp_faults()
    assert "PaddleNLP is another paddlenlp, but Paddle" in fault.problem
    assert fault.remedy == f"pip install paddlenlp=={find_generation().paddlenlp}"


def test_an_export_of_paddle_2_answers_the_same_with_both() -> None:
    """It was made with 2.6.2, and its answer is kept beside it."""
    contract = read_contract(KEPT)
    assert (contract.paddle_version, contract.model_file) == ("2.6.2", "unimo_text.pdmodel")
    batch = pad_rows(probe_rows(contract), contract.special_tokens.pad)
    found = Session(KEPT, contract, ON_CPU, "cpu").run(batch)
    expected = json.loads((KEPT / "answer.json").read_text())
    assert found.tokens.tolist() == expected["tokens"]
    assert np.abs(found.scores - expected["scores"]).max() < 1e-4


def given_faults(monkeypatch: pytest.MonkeyPatch, here: Generation, **changes: str) -> list[str]:
    monkeypatch.setattr(given_export, "find_generation", lambda: here)
    contract = read_contract(KEPT).model_copy(update=changes)
    return [str(fault) for fault in given_export._generation_faults(Path("given"), contract)]


def test_an_export_of_paddle_3_is_refused_with_paddle_2(monkeypatch: pytest.MonkeyPatch) -> None:
    of_3 = {"model_file": "unimo_text.json", "paddle_version": "3.3.1"}
    (told,) = given_faults(monkeypatch, PADDLE2, **of_3)
    for part in ("export.inference_model_dir", "Paddle 3.3.1", "cannot read", "wenti[cpu3]"):
        assert part in told, part
    assert given_faults(monkeypatch, PADDLE3, **of_3) == []


def test_what_was_made_for_paddle_2_only_is_refused_with_paddle_3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert given_faults(monkeypatch, PADDLE3) == []
    for special in ("operator_library", "shapes_file", "precision"):
        (told,) = given_faults(monkeypatch, PADDLE3, **{special: "fp16"})
        assert "for that Paddle only" in told
        assert given_faults(monkeypatch, PADDLE2, **{special: "fp16"}) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["predict.precision=fp16"], "predict.precision: Wenti's conversion to half precision"),
        (["export.use_fp16_decoding=true"], "export.use_fp16_decoding: Wenti's conversion"),
        (["predict.use_tensorrt=true"], "predict.use_tensorrt: Wenti's preparation"),
        (["export.engine=faster_transformer"], "export.engine: PaddleNLP 3 no longer contains"),
    ],
)
def test_paddle_3_refuses_what_wenti_has_for_paddle_2_only(
    overrides: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("tasks.doctor.preflight", "tasks.engine.faster_transformer.compatibility"):
        monkeypatch.setattr(f"{module}.find_generation", lambda: PADDLE3)
    asked = [f"store.path={tmp_path}", "predict.device=gpu", *overrides]
    faults = find_config_faults(load_settings(ROOT / "configs/demo.yaml", asked))
    assert [str(one) for one in faults if str(one).startswith(expected)]


@pytest.fixture
def paddle3_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with one named and described as Paddle 3 for GPUs."""
    folder = tmp_path / "paddlepaddle_gpu-3.3.1.dist-info"
    facts = tmp_path / "paddle/version/__init__.py"
    folder.mkdir()
    facts.parent.mkdir(parents=True)
    needed = "Requires-Dist: nvidia-cublas-cu12==12.6.4.1; platform_system == 'Linux'\n"
    (folder / "METADATA").write_text(f"Name: {GPU_PACKAGE}\nVersion: 3.3.1\n{needed}")
    (folder / "RECORD").write_text("paddle/version/__init__.py,,\n")
    facts.write_text("cuda_version     = '12.6'\ncompiled_cuda_archs = [80, 90, 100]\n")
    monkeypatch.syspath_prepend(tmp_path)
    for function in (find_kernels, find_generation):
        function.cache_clear()
    yield tmp_path
    for function in (find_kernels, find_generation):
        function.cache_clear()


@pytest.mark.usefixtures("paddle3_for_gpus")
def test_paddle_3_for_gpus_is_judged_by_its_own_files() -> None:
    assert find_generation() is PADDLE3
    assert find_cuda() == (12, 6)
    assert find_kernels() == Kernels(frozenset({(8, 0), (9, 0), (10, 0)}), frozenset())
    assert find_missing_packages() == ["nvidia-cublas-cu12"]
    assert "nvidia-cublas-cu12" in str(devices._check_libraries())
    assert installation.describe_paddle() == "paddlepaddle-gpu 3.3.1"
