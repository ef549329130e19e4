from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.gpu.driver import (
    Gpu,
    Machine,
    check_driver,
    check_gpus,
    probe_gpus,
    visible_gpus,
)
from tasks.engine.gpu.fat_binaries import Kernels
from tasks.engine.paddle.devices import check_devices
from tasks.errors import DeviceError

PADDLES = Kernels(frozenset({(6, 1), (7, 0), (7, 5), (8, 0), (8, 6)}), frozenset())
A10 = Gpu(0, "NVIDIA A10", "GPU-5a1b", 24_000_000_000, 23_000_000_000, (8, 6))
H100 = replace(A10, index=1, name="NVIDIA H100", uuid="GPU-5c2d", capability=(9, 0))
T4 = replace(A10, index=2, name="Tesla T4", uuid="GPU-77ee", capability=(7, 5))
ALL = [A10, H100, T4]


def has_driver() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_a_machine_without_a_driver_is_told_so() -> None:
    with pytest.raises(DeviceError, match="no NVIDIA driver is installed"):
        probe_gpus()
    (driver,) = [one for one in check_devices(["gpu:0", "gpu:1"]) if one.key == "driver"]
    assert driver.severity == "fault"
    assert "predict.device: cpu" in driver.remedy


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, [A10, H100, T4]),
        ("", []),
        ("2,0", [T4, A10]),
        (" 1 , 2", [H100, T4]),
        ("0,2,-1,1", [A10, T4]),  # the example of the CUDA C++ Programming Guide
        ("0,7,1", [A10]),
        ("0,0", []),
        ("GPU-77,0", [T4, A10]),
        ("GPU-5", []),  # two UUIDs start like this
        ("GPU-5a,GPU-5c", [A10, H100]),
        ("MIG-GPU-5a1b/1/0", []),
        ("none", []),
    ],
)
def test_which_gpus_a_process_sees(visible: str | None, seen: list[Gpu]) -> None:
    assert visible_gpus(ALL, visible) == seen


@given(st.lists(st.integers(0, 2), unique=True))
def test_by_number_or_by_uuid_it_is_the_same(numbers: list[int]) -> None:
    by_number = visible_gpus(ALL, ",".join(map(str, numbers)))
    by_uuid = visible_gpus(ALL, ",".join(ALL[number].uuid for number in numbers))
    assert by_number == by_uuid == [ALL[number] for number in numbers]


def test_a_card_without_kernels_is_a_fault_and_the_others_are_not() -> None:
    a10, h100, t4 = check_gpus(["gpu:0", "gpu:1", "gpu:2"], ALL, PADDLES)
    assert (a10.severity, t4.severity) == ("ok", "ok")
    assert "NVIDIA A10, 24.0 GB, sm_86, runs the kernels for sm_86" in a10.problem
    assert h100.severity == "fault"
    assert "gpu:1: NVIDIA H100" in h100.problem
    assert "this Paddle build has no kernels for it" in h100.problem
    assert "sm_61, sm_70, sm_75, sm_80, sm_86" in h100.problem
    assert "a Paddle for sm_90 (docs/gpu.md)" in h100.remedy


def test_a_build_whose_kernels_cannot_be_told_is_a_warning() -> None:
    (found,) = check_gpus(["gpu"], ALL, None)
    assert (found.severity, "unknown" in found.problem) == ("warning", True)


@given(st.integers(0, 3), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_exactly_the_devices_that_are_not_there_are_faults(count: int, wanted: list[int]) -> None:
    gpus = [replace(A10, index=index) for index in range(count)]
    findings = check_gpus([f"gpu:{number}" for number in wanted], gpus, PADDLES)
    assert [one.severity == "fault" for one in findings] == [number >= count for number in wanted]
    assert all(one.remedy for one in findings if one.severity == "fault")


@pytest.mark.parametrize(
    ("built_for", "cuda", "state", "remedy"),
    [
        ((11, 8), (13, 0), "ok", ""),
        ((11, 8), (12, 2), "ok", ""),
        ((11, 8), (11, 8), "ok", ""),
        ((11, 8), (11, 0), "warning", "CUDA 11.8 or newer"),
        ((11, 8), (10, 2), "fault", "450.80.02 or newer"),
        ((12, 9), (12, 9), "ok", ""),
        ((12, 9), (12, 2), "warning", "CUDA 12.9 or newer"),
        ((12, 9), (11, 8), "fault", "525.60.13 or newer"),
        ((14, 0), (13, 0), "fault", "one for CUDA 14.0 or newer"),
    ],
)
def test_a_driver_runs_what_was_built_for_its_major_version_of_cuda(
    built_for: tuple[int, int], cuda: tuple[int, int], state: str, remedy: str
) -> None:
    found = check_driver(Machine("535.104.05", cuda, tuple(ALL)), built_for)
    assert (found.severity, found.problem.startswith("535.104.05")) == (state, True)
    assert remedy in found.remedy
    assert bool(found.remedy) == (state != "ok")
