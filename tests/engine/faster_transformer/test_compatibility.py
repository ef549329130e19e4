"""When FasterTransformer is used, and the messages if it cannot be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.sections.prediction import DeviceKind
from tasks.config.settings import (
    DecodeSettings,
    ExportSettings,
    PredictSettings,
    Settings,
)
from tasks.engine.faster_transformer.compatibility import (
    kernel_faults,
    library_faults,
    model_faults,
    option_faults,
    parallel_faults,
    shape_faults,
)
from tasks.engine.faster_transformer.toolchain import Toolchain, find_toolchain, toolchain_faults
from tasks.engine.gpu.fat_binaries import Kernels
from tasks.engine.models.config import parse_config
from tasks.engine.selection import choose_engine
from tasks.plan.plan import Plan
from tests.support.planned_jobs import plan_job, write_job

pytestmark = pytest.mark.paddle2

DECODE = st.builds(
    DecodeSettings,
    decoding_strategy=st.sampled_from(["beam_search", "greedy_search", "sampling"]),
    max_dec_len=st.integers(4, 30),
    min_dec_len=st.integers(0, 4),
    num_beams=st.integers(2, 9),
    length_penalty=st.floats(0.1, 3),
    topk=st.integers(0, 80),
    topp=st.floats(0.1, 1),
    temperature=st.floats(0.1, 3),
    seed=st.integers(0, 3),
    diversity_rate=st.sampled_from([0.0, 0.5]),
    early_stopping=st.booleans(),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
)


def named(decode: DecodeSettings, predict: PredictSettings | None = None) -> set[str]:
    settings = Settings(decode=decode, predict=predict or PredictSettings())
    return {fault.key for fault in option_faults(settings)}


@pytest.mark.parametrize("strategy", ["beam_search", "greedy_search", "sampling"])
def test_nothing_speaks_against_the_defaults(strategy: str) -> None:
    assert named(DecodeSettings(decoding_strategy=strategy)) == set()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"temperature": 0.7}, "temperature"),
        ({"topk": 0}, "topk"),
        ({"topp": 0.8}, "topp"),
        ({"decoding_strategy": "sampling", "seed": 3}, "seed"),
        ({"decoding_strategy": "sampling", "topp": 0.8}, "topp"),
        ({"decoding_strategy": "sampling", "topk": 65}, "topk"),
        ({"decoding_strategy": "sampling", "topk": 0, "min_dec_len": 0}, "min_dec_len"),
        ({"decoding_strategy": "sampling", "early_stopping": True}, "early_stopping"),
        ({"decoding_strategy": "greedy_search", "length_penalty": 0.5}, "length_penalty"),
        ({"num_beams": 5, "diversity_rate": 0.3}, "diversity_rate"),
        ({"length_penalty": 1e6}, "length_penalty"),
    ],
)
def test_an_option_that_would_mean_nothing_or_something_else_is_named(
    options: dict[str, Any], where: str
) -> None:
    assert named(DecodeSettings(**options)) == {f"decode.{where}"}


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 64, "early_stopping": True, "length_penalty": 0.6, "min_dec_len": 0},
        {"num_beams": 4, "diversity_rate": 0.3},
        {"num_beams": 1},
        {"decoding_strategy": "sampling", "topk": 64, "temperature": 0.7},
        {"decoding_strategy": "sampling", "topk": 0, "topp": 0.8},
        {"decoding_strategy": "sampling", "topk": 0},
    ],
)
def test_what_the_operator_applies_is_allowed(options: dict[str, Any]) -> None:
    assert named(DecodeSettings(**options)) == set()


def test_tensorrt_is_named_because_there_is_nothing_for_it_to_do() -> None:
    predict = PredictSettings(use_tensorrt=True)
    assert named(DecodeSettings(), predict) == {"predict.use_tensorrt"}


@given(DECODE)
def test_taking_every_named_option_back_leaves_no_reason(decode: DecodeSettings) -> None:
    faults = named(decode)
    assert faults <= {f"decode.{name}" for name in DecodeSettings.model_fields}
    usual = DecodeSettings(decoding_strategy=decode.decoding_strategy)
    names = [where.removeprefix("decode.") for where in faults]
    reset = decode.model_copy(update={name: getattr(usual, name) for name in names})
    assert named(reset) == set()


def config_with(folder: Path, **values: object) -> Path:
    config = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


def test_what_of_a_model_the_operator_has_not_is_named(tmp_path: Path) -> None:
    assert model_faults(config_with(tmp_path)) == []
    values = {"num_attention_heads": 16, "intermediate_size": 1000, "normalize_before": True}
    problems = " ".join(str(fault) for fault in model_faults(config_with(tmp_path, **values)))
    for part in ("heads have size 48", "intermediate_size 1000", "normalize_before"):
        assert part in problems, part


@given(
    st.dictionaries(st.sampled_from(["hidden_size", "num_attention_heads"]), st.from_type(object))
)
def test_no_config_of_a_model_is_too_strange(config: dict[str, object]) -> None:
    assert len(shape_faults(parse_config(config))) <= 1


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "\xff"])
def test_a_config_that_is_none_is_left_to_the_check_of_the_model(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert model_faults(tmp_path) == []
    assert model_faults(tmp_path / "nowhere") == []
    assert model_faults(None) == []


def test_variables_under_which_paddlenlp_cuts_a_model_in_parts_are_named() -> None:
    assert parallel_faults({"WORLD_SIZE": "1", "RANK": "3"}) == []
    faults = parallel_faults({"WORLD_SIZE": "2", "PMI_SIZE": "4"})
    assert [fault.remedy for fault in faults] == [
        "unset PMI_SIZE for Wenti",
        "unset WORLD_SIZE for Wenti",
    ]


READY = Toolchain(paddle_has_cuda=True, nvcc=(11, 8), gcc=(11, 4), cmake=(3, 10), git=(2, 39))


def test_a_machine_that_can_build_has_no_reasons() -> None:
    assert toolchain_faults(READY) == []


def test_every_reason_why_a_machine_cannot_build_is_given_at_once() -> None:
    nothing = Toolchain(paddle_has_cuda=False, nvcc=None, gcc=None, cmake=None, git=None)
    reasons = [fault.problem for fault in toolchain_faults(nothing)]
    assert len(reasons) == 5
    others = Toolchain(paddle_has_cuda=True, nvcc=(12, 1), gcc=(12, 2), cmake=(3, 9), git=(2,))
    reasons = [fault.problem for fault in toolchain_faults(others)]
    assert len(reasons) == 3
    assert "CUDA 12.1, but Paddle is built for 11.8" in reasons[0]
    assert "gcc is 12.2, but CUDA 11.8 supports at most 11" in reasons[1]
    assert "CMake 3.10" in reasons[2]


def test_programs_are_asked_for_their_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "nvcc": "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 11.8, V11",
        "gcc": "11",
        "git": "git version 2.39.5",
    }
    (tmp_path / "bin").mkdir()
    for name, answer in answers.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n")
        program.chmod(0o755)
    (tmp_path / "bin/cmake").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/cmake").chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = find_toolchain()
    assert (found.nvcc, found.gcc, found.cmake, found.git) == ((11, 8), (11,), None, (2, 39))
    (tmp_path / "bin/nvcc").unlink()
    assert find_toolchain().nvcc is None


def compile_library(path: Path, kernels: bool, operator: str = "fusion_unified_decoding") -> Path:
    """Compile a shared library that contains the operator's name, with or without kernels."""
    lines = [".data", f'.string "{operator}"']
    if kernels:
        lines += ['.section .nv_fatbin, "a"', ".align 8", _fat_binary(80)]
    source = path.with_suffix(".s")
    source.write_text("\n".join(lines) + "\n")
    subprocess.run(["gcc", "-shared", "-o", path, source], check=True)
    return path


def _fat_binary(architecture: int) -> str:
    """Return the assembler code of a container with one empty binary."""
    entry = f".short 2, 0\n.long 64\n.quad 0\n.zero 12\n.long {architecture}\n.zero 32"
    return f".long 0xBA55ED50\n.short 1, 16\n.quad 64\n{entry}"


def test_a_library_is_judged_without_loading_it(tmp_path: Path) -> None:
    for_cpu = compile_library(tmp_path / "cpu.so", kernels=False)
    for_gpu = compile_library(tmp_path / "gpu.so", kernels=True)
    assert library_faults(for_cpu, ["cpu", "cpu"]) == []
    assert library_faults(for_gpu, ["gpu"]) == []
    other = compile_library(tmp_path / "other.so", kernels=False, operator="another")
    (tmp_path / "text.so").write_text("a library")
    (tmp_path / "empty.so").touch()
    expected = {
        (for_cpu, "gpu:1"): "has no kernels for GPUs",
        (for_gpu, "cpu"): "is for GPUs only",
        (other, "cpu"): "has no operator fusion_unified_decoding",
        (tmp_path / "nowhere.so", "cpu"): "No such file or directory",
        (tmp_path, "cpu"): "Is a directory",
        (tmp_path / "text.so", "cpu"): "it is not a shared library",
        (tmp_path / "empty.so", "cpu"): "it is not a shared library",
    }
    for (library, device), problem in expected.items():
        (fault,) = library_faults(library, [device])
        assert fault.key == "export.decoding_lib"
        assert str(library) in fault.problem
        assert problem in fault.problem


def test_a_gpu_that_a_library_has_no_kernels_for_is_named_once() -> None:
    kernels = Kernels(frozenset({(7, 5), (8, 0)}), frozenset())
    gpus = [(8, 6), (9, 0), (9, 0), (7, 5)]
    (fault,) = kernel_faults(Path("x.so"), kernels, "gpu:0", gpus)
    assert "no kernels for sm_90 (it has sm_75, sm_80)" in fault.problem


def settings_with(
    device: DeviceKind = "gpu", decode: DecodeSettings | None = None, **export: object
) -> Settings:
    return Settings(
        export=ExportSettings.model_validate(export),
        decode=decode or DecodeSettings(),
        predict=PredictSettings(device=device),
    )


def test_auto_is_the_best_that_needs_no_building(tmp_path: Path) -> None:
    model = config_with(tmp_path)
    library = "libdecoding_op.so"
    given = {"decoding_lib": library}
    penalised = DecodeSettings(repetition_penalty=1.2)
    assert choose_engine(settings_with(**given), model) == "faster_transformer"
    assert choose_engine(settings_with(), model) == "native"
    assert choose_engine(settings_with("cpu", **given), model) == "native"
    assert choose_engine(settings_with(decode=penalised, **given), model) == "native"
    small_heads = config_with(tmp_path, num_attention_heads=48)
    assert choose_engine(settings_with(**given), small_heads) == "native"


@pytest.mark.parametrize("engine", ["native", "faster_transformer", "fake"])
def test_an_engine_asked_for_by_name_is_never_another(engine: str, tmp_path: Path) -> None:
    decode = DecodeSettings(repetition_penalty=1.2)
    settings = settings_with(decode=decode, engine=engine, decoding_lib="x.so")
    assert choose_engine(settings, tmp_path) == engine


def test_the_bytes_of_a_library_decide_the_export_and_its_place_does_not(tmp_path: Path) -> None:
    folder = write_job(tmp_path)
    for name, content in {"one": b"1", "same": b"1", "other": b"2"}.items():
        (tmp_path / name).write_bytes(content)

    def plan(*overrides: str) -> Plan:
        return plan_job(folder, "export.engine=faster_transformer", *overrides)

    plans = {name: plan(f"export.decoding_lib={tmp_path / name}") for name in ("one", "same")}
    assert plans["one"].engine == "faster_transformer"
    assert plans["one"].export.fingerprint == plans["same"].export.fingerprint
    others = [plan(f"export.decoding_lib={tmp_path / 'other'}"), plan(), plan_job(folder)]
    fingerprints = {one.export.fingerprint for one in (plans["one"], *others)}
    assert len(fingerprints) == 4
    native = plan_job(folder, "export.engine=native", f"export.decoding_lib={tmp_path / 'one'}")
    assert native.export.fingerprint == plan_job(folder).export.fingerprint
