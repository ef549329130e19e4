from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.loading import load_settings
from tasks.config.settings import DecodeSettings, Settings
from tasks.doctor.capacity import check_need, estimate_space
from tasks.doctor.diagnosis import diagnose
from tasks.engine.models.config import ModelSize
from tasks.engine.models.memory import (
    BESIDE_CPU,
    Need,
    batch_bytes,
    estimate_need,
    read_size,
)
from tasks.store.files import storage_of
from tests.support.object_stores import use_memory
from tests.support.rehearsal import ROOT
from tests.support.servers import free_port

CHECKPOINT = ROOT / "data/checkpoint"


def settings_with(*overrides: str) -> Settings:
    places = (
        f"model.model_name_or_path={CHECKPOINT}",
        f"dataset.predict_file={ROOT / 'data/passages/heldout.jsonl'}",
    )
    return load_settings(ROOT / "configs/demo.yaml", [*places, *overrides])


def wenti(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("wenti")
    return subprocess.run(
        [str(program), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=600,
        env={**os.environ, **environment},
    )


def doctor(name: str, *overrides: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run `wenti doctor --json`; return the exit code, and the findings by key."""
    options = [part for text in overrides for part in ("--set", text)]
    done = wenti("doctor", name, *options, "--json", **environment)
    answer = json.loads(done.stdout)
    assert answer["can_run"] == (done.returncode == 0), done.stderr
    return done.returncode, {one["what"]: one for one in answer["findings"]}


def test_the_demo_can_run_here_and_nothing_is_left_behind(tmp_path: Path) -> None:
    store = tmp_path / "new" / "store"
    code, findings = doctor("demo", f"store.path={store}", PREFECT_API_URL="")
    assert code == 0
    assert {one["state"] for one in findings.values()} == {"ok"}
    assert list(tmp_path.iterdir()) == []
    assert "4 layers of 128" in findings["model.model_name_or_path"]["seen"]
    assert version("paddlepaddle") in findings["paddle"]["seen"]


def test_the_table_says_that_all_is_well(tmp_path: Path) -> None:
    done = wenti("doctor", "demo", "--set", f"store.path={tmp_path}", PREFECT_API_URL="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no problems found; start with: wenti run demo" in done.stdout


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, findings = doctor(
        "dureader_qg",
        f"store.path={file / 'store'}",
        "dataset.predict_file=nowhere.jsonl",
        "predict.use_tensorrt=true",
        "export.use_fp16_decoding=true",
        PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api",
    )
    assert code == 2
    faults = {what for what, one in findings.items() if one["state"] == "fault"}
    wrong = {"store.path", "dataset.predict_file", "export.use_fp16_decoding", "Prefect"}
    assert wrong < faults
    assert all(findings[what]["remedy"] for what in faults)


def test_a_home_that_prefect_cannot_make_is_a_fault(tmp_path: Path) -> None:
    home = tmp_path / "nowhere" / "prefect"
    variables = {"PREFECT_API_URL": "", "PREFECT_HOME": str(home)}
    code, findings = doctor("demo", f"store.path={tmp_path}", **variables)
    assert (code, findings["Prefect"]["state"]) == (2, "fault")
    assert str(home) in findings["Prefect"]["seen"]
    assert "PREFECT_HOME" in findings["Prefect"]["remedy"]


def test_a_server_that_answers_is_named(server_url: str, tmp_path: Path) -> None:
    _code, findings = doctor("demo", f"store.path={tmp_path}", PREFECT_API_URL=server_url)
    assert (findings["Prefect"]["state"], findings["Prefect"]["seen"]) == ("ok", server_url)


def test_a_run_on_gpus_is_refused_before_paddle_is_imported() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tasks.config.loading import load_settings\n"
        "from tasks.errors import PreflightError\n"
        "from flows.prepare import check_settings\n"
        "settings = load_settings(Path('configs/demo.yaml'), ['predict.device=gpu'])\n"
        "try:\n"
        "    check_settings(settings)\n"
        "except PreflightError as error:\n"
        "    print(error)\n"
        "print('paddle' in sys.modules, 'prefect' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    *message, modules = done.stdout.splitlines()
    if message:  # this machine has no GPU that can be used
        assert "predict.device: cpu" in done.stdout
    assert modules == "False False"


@pytest.fixture(scope="module")
def without_paddle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process with all packages except Paddle and PaddleNLP."""
    import pydantic

    site = tmp_path_factory.mktemp("site")
    for entry in Path(pydantic.__file__).parents[1].iterdir():
        if entry.name != "paddle" and not entry.name.startswith(("paddlepaddle", "paddlenlp")):
            (site / entry.name).symlink_to(entry)
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}


def test_without_paddle_one_message_says_which_extra_to_install(
    without_paddle: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-S", "-c", "from flows.cli.main import main; main()"]
    for verb in ("run", "doctor"):
        done = subprocess.run(
            [*command, verb, "demo", "--set", f"store.path={tmp_path / 'store'}"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**without_paddle, "COLUMNS": "200"},
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        told = done.stdout + done.stderr
        assert "Paddle is not installed" in told
        assert "pip install 'wenti[cpu]', or 'wenti[gpu]'" in told
    assert not (tmp_path / "store").exists()


def test_importing_paddle_without_it_is_an_error_of_ours(without_paddle: dict[str, str]) -> None:
    code = (
        "from tasks.processes import call_in_child\n"
        "from tasks.engine.paddle.probe import probe_paddle\n"
        "from tasks.errors import InstallationError\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        call_in_child(probe_paddle)\n"
        "    except InstallationError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=without_paddle,
        check=True,
    )
    assert done.stdout.startswith("Paddle is not installed; pip install 'wenti[cpu]'")


def test_a_disk_that_is_too_small_is_a_warning(small_disk: Path) -> None:
    settings = settings_with(f"store.path={small_disk / 'store'}")
    (space,) = [one for one in diagnose(settings) if one.key == "disk space"]
    assert (space.severity, "store.path" in space.remedy) == ("warning", True)


def test_a_run_takes_no_more_space_than_estimated(demo_store: Path) -> None:
    written = sum(file.stat().st_size for file in demo_store.rglob("*") if file.is_file())
    assert written <= estimate_space(settings_with(f"store.path={demo_store}"))


def test_the_size_of_a_model_is_that_of_its_weights(demo_store: Path) -> None:
    """Each tensor in the exported file has a header of some tens of bytes."""
    size = read_size(CHECKPOINT)
    assert size is not None
    (weights,) = (demo_store / "exports").glob("*/unimo_text.pdiparams")
    excess = weights.stat().st_size - 4 * size.parameters
    assert 0 < excess < 100 * 1024


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 8},
        [],
        {"init_args": [{"hidden_size": 8}]},
        {"hidden_size": "8"},
    ],
)
def test_a_config_that_does_not_tell_the_size(tmp_path: Path, config: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_size(tmp_path) is None


def test_the_size_is_read_from_configs_of_older_paddlenlps_too(tmp_path: Path) -> None:
    config = json.loads((CHECKPOINT / "config.json").read_text())
    inner = {"init_args": [config], "init_class": "UNIMOModel"}
    older = {"init_args": [inner], "init_class": "UNIMOLMHeadModel"}
    (tmp_path / "model_config.json").write_text(json.dumps(older))
    assert read_size(tmp_path) == read_size(CHECKPOINT)


SIZES = st.builds(
    ModelSize,
    layers=st.integers(1, 48),
    hidden=st.integers(1, 64).map(lambda n: 64 * n),
    heads=st.integers(1, 64),
    intermediate=st.integers(1, 10_000),
    vocabulary=st.integers(1, 100_000),
    positions=st.integers(1, 4096),
    types=st.integers(1, 8),
)


@given(SIZES, st.integers(1, 64), st.integers(8, 512), st.integers(1, 8))
def test_a_larger_batch_takes_more(size: ModelSize, rows: int, length: int, beams: int) -> None:
    def needed(rows: int, length: int, beams: int) -> int:
        return batch_bytes(size, DecodeSettings(num_beams=beams), rows, length)

    base = needed(rows, length, beams)
    assert needed(2 * rows, length, beams) == 2 * base
    assert needed(rows, length + 1, beams) > base
    assert needed(rows, length, beams + 1) > base


@pytest.mark.parametrize(("rows", "measured"), [(8, 1_432), (16, 1_935)])
def test_the_estimate_agrees_with_what_was_measured(rows: int, measured: int) -> None:
    """The expected values are MB of a process on the CPU, from docs/benchmarks.md."""
    size = ModelSize(12, 768, 12, 3072, 18_000, 513, 4)
    batch = batch_bytes(size, DecodeSettings(num_beams=6, max_dec_len=20), rows, 270)
    estimate = BESIDE_CPU + 4 * size.parameters + batch
    assert estimate / 1e6 == pytest.approx(measured, rel=0.1)


@given(SIZES)
def test_the_largest_batch_takes_no_less_than_a_row(size: ModelSize) -> None:
    need = estimate_need(size, settings_with())
    assert need.least <= need.most


GB = 10**9


@pytest.mark.parametrize(
    ("memory", "free", "state"),
    [(24, 23, "ok"), (24, 5, "warning"), (7, 7, "warning"), (3, 3, "fault")],
)
def test_memory_is_enough_or_scarce_or_too_small(memory: int, free: int, state: str) -> None:
    need = Need(beside=GB, weights=2 * GB, batch=6 * GB, row=GB)
    found = check_need("memory of gpu:0", need, 1, memory * GB, free * GB)
    assert (found.severity, bool(found.remedy)) == (state, state != "ok")
    assert "about 9.0 GB needed (2.0 GB weights, 6.0 GB a batch)" in found.problem


def test_workers_that_share_a_memory_need_it_together() -> None:
    need = Need(beside=GB, weights=2 * GB, batch=6 * GB, row=GB)
    assert check_need("memory", need, 2, 24 * GB, 17 * GB).severity == "warning"
    assert check_need("memory", need, 2, 24 * GB, 18 * GB).severity == "ok"


@pytest.mark.parametrize(("scheme", "advice"), [("s3", "lifecycle rule"), ("az", "soft delete")])
def test_a_bucket_is_tried_and_the_disk_of_its_cache_is_looked_at(
    scheme: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = use_memory(tmp_path, monkeypatch, scheme)
    settings = settings_with(f"store.path={root}", f"store.cache={tmp_path / 'cache'}")
    findings = {one.key: one for one in diagnose(settings)}
    assert "honours conditions" in findings["store.path"].problem
    assert advice in findings["store.path"].remedy
    assert findings["store.path"].severity == "ok"
    assert str(tmp_path) in findings["disk space"].problem
    assert storage_of(root).list_folder(root) == []
