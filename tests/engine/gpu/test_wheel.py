"""Paddle for GPUs, on machines with or without a GPU; `make test-gpu-wheel` runs this.

It calls Paddle's own functions that open CUDA's libraries, and compares the predictions of its CPU
device with those of Paddle for CPUs in another environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.engine.paddle.cuda_libraries import LIBRARIES, find_missing
from tasks.engine.paddle.installation import find_builds, find_kernels
from tasks.engine.paddle.probe import probe_paddle
from tasks.processes import call_in_child
from tests.support.rehearsal import ROOT, outside_environment

pytestmark = pytest.mark.gpu_wheel

# `phi::dynload::Get…DsoHandle()`, each of which opens one library; without those of profilers.
OPENERS = (
    "Cublas",
    "CublasLt",
    "CUDNN",
    "CUFFT",
    "Curand",
    "Cusolver",
    "Cusparse",
    "NCCL",
    "NVRTC",
)

OPEN_AS_PADDLE_DOES = """
import ctypes, json, sys
if {ours}:
    from tasks.engine.paddle.runtime import import_paddle
    import_paddle()
else:
    import zlib
    import paddle
loaded = [line.split()[-1] for line in open("/proc/self/maps") if "/" in line]
phi = ctypes.CDLL(next(path for path in loaded if path.endswith("libphi.so")))
found = {{}}
for name in {openers!r}:
    open_library = phi[f"_ZN3phi7dynload{{len(name) + 12}}Get{{name}}DsoHandleEv"]
    open_library.restype = ctypes.c_void_p
    found[name] = open_library() is not None
loaded = sorted({{line.split()[-1] for line in open("/proc/self/maps") if "/" in line}})
print(json.dumps([found, loaded]))
"""

VERSIONS = """
import ctypes, json
from tasks.engine.paddle.runtime import import_paddle
import_paddle()
found = {}
def ask(library, function, *before):
    number = ctypes.c_int(-1)
    status = getattr(ctypes.CDLL(library), function)(*before, ctypes.byref(number))
    found[function] = [status, number.value]
ask("libcufft.so", "cufftGetVersion")
ask("libcurand.so", "curandGetVersion")
ask("libnccl.so", "ncclGetVersion")
ask("libcublas.so", "cublasGetProperty", 1)
ask("libcusparse.so", "cusparseGetProperty", 0)
ask("libcusolver.so", "cusolverGetProperty", 0)
major = ctypes.c_int(-1)
ask("libnvrtc.so", "nvrtcVersion", ctypes.byref(major))
found["nvrtcVersion"].insert(1, major.value)
found["cublasLt"] = ctypes.CDLL("libcublasLt.so").cublasLtGetVersion()
cudnn = ctypes.CDLL("libcudnn.so")
found["cudnn"] = cudnn.cudnnGetVersion()
for part in ("Ops", "Cnn", "Adv"):
    for kind in ("Infer", "Train"):
        found[part + kind] = cudnn[f"cudnn{part}{kind}VersionCheck"]()
print(json.dumps(found))
"""


def run_python(code: str) -> str:
    """Run code in a new process without LD_LIBRARY_PATH; return its output."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_paddle_is_the_one_for_gpus_and_loads_all_that_belongs_to_it() -> None:
    assert [build.package for build in find_builds()] == ["paddlepaddle-gpu"]
    assert find_missing() == []
    probe = call_in_child(probe_paddle)
    assert (probe.version, probe.cuda, probe.cudnn) == ("2.6.2", "11.8", "8.6.0")
    assert probe.problems == ()


def test_paddle_finds_every_library_and_all_are_of_this_environment() -> None:
    found, loaded = json.loads(run_python(OPEN_AS_PADDLE_DOES.format(ours=True, openers=OPENERS)))
    assert found == dict.fromkeys(OPENERS, True)
    of_cuda = [path for path in loaded if Path(path).name.startswith(("libcu", "libnccl", "libnv"))]
    assert {Path(path).name for path in of_cuda} == {library.name for library in LIBRARIES}
    assert all(Path(path).is_relative_to(sys.prefix) for path in of_cuda)


def test_paddle_alone_does_not_find_cudnn() -> None:
    found, _loaded = json.loads(
        run_python(OPEN_AS_PADDLE_DOES.format(ours=False, openers=("CUDNN", "NVRTC")))
    )
    assert found == {"CUDNN": False, "NVRTC": False}


def test_the_libraries_answer_and_have_the_versions_that_paddle_was_built_for() -> None:
    found = json.loads(run_python(VERSIONS))
    assert found == {
        "cufftGetVersion": [0, 10900],
        "curandGetVersion": [0, 10300],
        "ncclGetVersion": [0, 21903],
        "cublasGetProperty": [0, 11],
        "cusparseGetProperty": [0, 11],
        "cusolverGetProperty": [0, 11],
        "nvrtcVersion": [0, 11, 8],
        "cublasLt": 111103,
        "cudnn": 8600,
        "OpsInfer": 0,
        "OpsTrain": 0,
        "CnnInfer": 0,
        "CnnTrain": 0,
        "AdvInfer": 0,
        "AdvTrain": 0,
    }


def test_its_kernels_are_for_five_architectures_and_there_is_no_ptx() -> None:
    kernels = find_kernels()
    assert kernels is not None
    assert str(kernels) == "sm_61, sm_70, sm_75, sm_80, sm_86"


def test_on_the_cpu_it_predicts_what_paddle_for_cpus_does(tmp_path: Path, server_url: str) -> None:
    for_cpus = os.environ.get("WENTI_CPU_WHEEL")
    if for_cpus is None:
        pytest.skip("WENTI_CPU_WHEEL does not name the wenti of an environment with wenti[cpu]")
    programs = {"gpu": str(Path(sys.executable).with_name("wenti")), "cpu": for_cpus}
    tables = {}
    for name, program in programs.items():
        store = tmp_path / name
        done = subprocess.run(
            [program, "run", "demo", "--set", f"store.path={store}", "--json"],
            cwd=ROOT,
            env=outside_environment(server_url, tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        record = json.loads((store / "runs/latest/run.json").read_text())
        is_for_gpus = "paddlepaddle-gpu" in json.dumps(record["decided_by"])
        assert is_for_gpus == (name == "gpu")
        tables[name] = pq.read_table(store / "runs/latest/predictions.parquet").to_pydict()
    for column in ("row", "id", "question", "output_ids"):
        assert tables["gpu"][column] == tables["cpu"][column]
    assert len(tables["gpu"]["row"]) == 300
    # Scores are sums of up to 20 logarithms of float32 logits, which are up to some tens.
    np.testing.assert_allclose(tables["gpu"]["score"], tables["cpu"]["score"], rtol=0, atol=2e-5)


def test_a_config_for_gpus_is_refused_for_the_driver_only(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("wenti")
    options = ["--set", "predict.device=gpu", "--set", f"store.path={tmp_path / 'store'}"]
    done = subprocess.run(
        [program, "doctor", "demo", *options, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    findings = json.loads(done.stdout)["findings"]
    states = {one["what"]: one["state"] for one in findings}
    if states["driver"] == "ok":
        pytest.skip("this machine has a driver: `make gpu-acceptance` is for it")
    assert done.returncode == 2
    assert {what for what, state in states.items() if state == "fault"} == {"driver"}
    assert states["CUDA libraries"] == "ok"
