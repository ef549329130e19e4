"""Several devices: each worker sees its own, idle workers get shards, and usage is measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import PredictSettings
from tasks.engine.gpu.driver import Gpu, device_names
from tasks.engine.gpu.fat_binaries import Capability
from tasks.engine.gpu.visible_devices import identify, restrict_to_device
from tasks.errors import DeviceError
from tasks.predict.workers.pool import name_workers
from tasks.predict.workers.usage import CpuMeter, make_meter
from tasks.processes import call_in_child
from tasks.runs.find import find_results
from tasks.store.layout import Store
from tests.support.rehearsal import ROOT, SHARDS, Rehearsal

SM_86: Capability = (8, 6)
CARDS = [
    Gpu(index, "NVIDIA A10", f"GPU-{letter * 8}", 24 * 10**9, 10**9, SM_86)
    for index, letter in enumerate("abc")
]
UUIDS = [card.uuid for card in CARDS]


@pytest.mark.parametrize(
    ("device", "visible", "found"),
    [
        ("gpu", None, UUIDS[0]),
        ("gpu:2", None, UUIDS[2]),
        ("gpu:0", "2,0", UUIDS[2]),
        ("gpu:1", "2, 0", UUIDS[0]),
        ("gpu:1", "GPU-c,GPU-b", UUIDS[1]),
        ("gpu:1", "MIG-1111,MIG-2222", "MIG-2222"),  # parts of a GPU are not GPUs
    ],
)
def test_a_worker_is_given_the_card_of_its_number_among_those_that_are_visible(
    device: str, visible: str | None, found: str
) -> None:
    assert identify(device, CARDS, visible) == found


@given(st.permutations([0, 1, 2]), st.integers(0, 2))
def test_without_the_management_library_what_is_visible_names_the_card(
    order: list[int], index: int
) -> None:
    visible = ",".join(map(str, order))
    assert identify(f"gpu:{index}", [], visible) == str(order[index])
    assert identify(f"gpu:{index}", [], None) == str(index)
    assert identify(f"gpu:{index}", CARDS, visible) == UUIDS[order[index]]


@pytest.mark.parametrize("visible", ["", "0", "GPU-a"])
def test_a_card_that_is_hidden_is_not_there(visible: str) -> None:
    with pytest.raises(DeviceError, match="no gpu:1: CUDA_VISIBLE_DEVICES is"):
        identify("gpu:1", CARDS, visible)


def what_it_sees(device: str) -> tuple[str, str]:
    return restrict_to_device(device), os.environ["CUDA_VISIBLE_DEVICES"]


def test_a_worker_on_the_cpu_sees_no_card_and_its_parent_what_it_always_saw() -> None:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert call_in_child(what_it_sees, "cpu:1") == ("cpu:1", "")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


@pytest.fixture(scope="module")
def two_cards(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a machine whose driver reports two GPUs."""
    if shutil.which("gcc") is None:
        pytest.skip("a driver of our own needs gcc")
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libnvidia-ml.so.1"
    source = str(ROOT / "tests/support/nvml.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", source, "-o", str(library)], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    return {**kept, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT)}


LOOK = """
import json, os
from tasks.config.settings import PredictSettings
from tasks.engine.gpu.driver import device_names
from tasks.engine.gpu.visible_devices import restrict_to_device
from tasks.predict.workers.usage import make_meter

names = device_names(PredictSettings(devices="all"))
meter = make_meter(names[-1])
for _ in range(4):
    meter.measure(os.getpid())
told = {"names": names, "figures": meter.figures(), "called": restrict_to_device(names[-1])}
print(json.dumps({**told, "sees": os.environ["CUDA_VISIBLE_DEVICES"]}))
"""


@pytest.mark.parametrize(
    ("visible", "names", "sees", "name"),
    [
        (None, ["gpu:0", "gpu:1"], "GPU-5a1b0000", "NVIDIA A10"),
        ("1,0", ["gpu:0", "gpu:1"], "GPU-77ee0000", "Tesla T4"),
        ("GPU-5a", ["gpu:0"], "GPU-5a1b0000", "NVIDIA A10"),
    ],
)
def test_all_cards_of_a_machine_are_found_measured_and_given_out_one_by_one(
    two_cards: Mapping[str, str], visible: str | None, names: list[str], sees: str, name: str
) -> None:
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**two_cards, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert (told["names"], told["called"], told["sees"]) == (names, "gpu:0", sees)
    figures = told["figures"]
    memory_mb = {"Tesla T4": 16000.0, "NVIDIA A10": 24000.0}[name]
    assert (figures["name"], figures["memory_mb"]) == (name, memory_mb)
    assert (figures["peak_memory_mb"], figures["utilisation_percent"]) == (3000.0, 65.0)


def test_all_is_one_worker_for_each_card_and_names_one_where_there_is_none() -> None:
    predict = PredictSettings(devices=("all",))
    assert predict.device_kind == "gpu"
    assert device_names(predict)[0] == "gpu:0"


def test_workers_on_one_device_have_names_of_their_own() -> None:
    assert name_workers(["cpu", "cpu", "cpu:1", "cpu"]) == ["cpu", "cpu (2)", "cpu:1", "cpu (3)"]


BUSY = "import time; taken = bytearray(80_000_000); print(); {}; time.sleep(60)"


def test_memory_and_computing_of_a_worker_are_those_of_its_processes_together() -> None:
    meter = CpuMeter()
    works = ["sum(range(30_000_000))", "pass"]
    seconds = []
    for work in works:
        with subprocess.Popen([sys.executable, "-c", BUSY.format(work)], stdout=-1) as process:
            assert process.stdout is not None
            process.stdout.readline()
            observed = psutil.Process(process.pid)
            while observed.status() != psutil.STATUS_SLEEPING:
                time.sleep(0.05)
            meter.measure(process.pid)
            times, memory = observed.cpu_times(), observed.memory_info().rss
            seconds.append(times.user + times.system)
            process.kill()
        meter.measure(process.pid)  # it has ended: earlier measurements are kept
    figures = meter.figures()
    assert figures["cpu_seconds"] == pytest.approx(sum(seconds), abs=0.1)
    assert figures["peak_memory_mb"] == pytest.approx(memory / 1e6, rel=0.2)
    assert figures["peak_memory_mb"] > 80


def test_a_card_that_nobody_tells_of_is_not_measured_and_nothing_fails() -> None:
    meter = make_meter("gpu:97")
    meter.measure(os.getpid())
    assert meter.figures() == {}


def devices_of(store: Path) -> dict[str, Any]:
    folder = find_results("latest", Store(store))
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_bytes())["devices"]
    return found


def test_a_slower_device_makes_fewer_shards_and_the_bytes_are_the_same(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    store = rehearsal.store_without_shards(tmp_path / "store")
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"slow_devices": {"cpu:1": 2.0}}))  # seconds for each batch
    asked = "predict.devices=[cpu:0, cpu:1]"
    code, messages = rehearsal.run(store, asked, WENTI_FAKE_FAULTS=str(faults))
    assert code == 0, messages
    devices = devices_of(store)
    shards = {name: figures["shards"] for name, figures in devices.items()}
    assert sum(shards.values()) == SHARDS
    assert shards["cpu:0"] > shards["cpu:1"]
    assert sum(figures["rows"] for figures in devices.values()) == 27
    rehearsal.check(store)
