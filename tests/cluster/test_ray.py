"""Whole runs on a real Ray cluster of this machine, while its nodes are stopped and killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from tasks.addresses import ObjectPlace
from tasks.config.loading import load_settings
from tasks.doctor.cluster import examine_cluster
from tasks.engine.fake import FAULTS_VARIABLE
from tasks.engine.paddle.installation import describe_paddle
from tasks.operations.verify import verify_run
from tasks.runs.find import find_results
from tasks.runs.journal import JOURNAL_FILE, read_journal
from tasks.store.files import storage_of
from tasks.store.layout import Store
from tests.support.object_servers import CREDENTIALS, SECRET, S3Server
from tests.support.object_stores import use_server
from tests.support.ray_cluster import HEAD, PATIENCE, VARIABLES, RayCluster, ray_cluster
from tests.support.rehearsal import RESULTS, ROOT, SHARDS, Rehearsal, made_by
from tests.support.without_paddle import wenti_without_paddle

pytestmark = pytest.mark.cluster

SLOW = 1.5  # seconds a batch, of which a shard has three


@pytest.fixture(scope="module")
def pace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says how long a batch takes on the nodes."""
    return tmp_path_factory.mktemp("pace") / "faults.json"


@pytest.fixture(scope="module")
def cluster(pace: Path) -> Iterator[RayCluster]:
    set_pace(pace, 0)
    with ray_cluster(**{FAULTS_VARIABLE: str(pace), **CREDENTIALS}) as cluster:
        yield cluster


@pytest.fixture
def store(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    return rehearsal.store_without_shards(tmp_path / "store")


def set_pace(pace: Path, seconds: float) -> None:
    pace.write_text(json.dumps({"seconds_per_batch": seconds}))


def start(
    rehearsal: Rehearsal, store: PurePath, cluster: RayCluster, *given: str, **variables: str
) -> subprocess.Popen[str]:
    overrides = ["predict.executor=ray", f"cluster.address={cluster.address}", *given]
    overrides.append("cluster.wait_for_nodes_seconds=120")
    return rehearsal.start(store, *overrides, **VARIABLES, **variables)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def manifests(store: Path) -> list[Path]:
    return list(store.glob("predictions/*/shard-*.json"))


def shards_in(root: ObjectPlace) -> list[PurePath]:
    storage = storage_of(root)
    folders = storage.list_folder(root / "predictions")
    places = (place for folder in folders for place in storage.list_folder(folder))
    return [one for one in places if one.name.startswith("shard-") and one.suffix == ".json"]


def journal(store: Path) -> list[dict[str, object]]:
    text = (store / "runs/newest/shards.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_doctor_has_every_node_write_into_the_store(
    tmp_path: Path, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.have("a", "b")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    nodes = {"predict.executor": "ray", "cluster.address": cluster.address, "predict.device": "cpu"}
    folders = {"store.path": tmp_path / "store", "model.model_name_or_path": tmp_path}
    overrides = [f"{key}={value}" for key, value in {**nodes, **folders}.items()]
    settings = load_settings(ROOT / "configs/demo.yaml", overrides)
    findings = examine_cluster(settings)
    assert "3 nodes with room for 2 places" in findings[0].problem
    assert [(one.key, one.severity) for one in findings] == [
        ("cluster.address", "ok"),
        ("RAY_AUTH_MODE", "ok"),
    ]
    assert not (tmp_path / "store").exists()


def test_a_cluster_gives_the_bytes_of_one_machine(
    rehearsal: Rehearsal, store: Path, cluster: RayCluster, pace: Path
) -> None:
    cluster.have("a", "b")
    set_pace(pace, 0.5)  # so that both places get a shard
    with start(rehearsal, store, cluster) as run:
        messages = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 0, messages
    rehearsal.check(store)
    metrics = json.loads((store / "runs/latest/metrics.json").read_bytes())
    assert set(metrics["devices"]) <= {"a cpu", "b cpu"}
    assert sum(one["shards"] for one in metrics["devices"].values()) == SHARDS
    assert all(one["peak_memory_mb"] > 0 for one in metrics["devices"].values())


def test_a_node_that_is_cut_off_costs_no_more_than_a_second_attempt(
    rehearsal: Rehearsal, store: Path, cluster: RayCluster, pace: Path
) -> None:
    cluster.have("a", "b")
    set_pace(pace, SLOW)
    with start(rehearsal, store, cluster) as run:
        wait_until(lambda: len(list(store.glob("predictions/*/piece-*.json"))) > 1)
        cluster.send("b", signal.SIGSTOP)
        messages = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 0, messages
    rehearsal.check(store)


def test_nodes_that_are_killed_are_replaced_by_one_that_joins(
    rehearsal: Rehearsal, store: Path, cluster: RayCluster, pace: Path
) -> None:
    cluster.have("a")
    set_pace(pace, SLOW)
    with start(rehearsal, store, cluster) as run:
        wait_until(lambda: len(manifests(store)) > 0)
        before = {path.name for path in manifests(store)}
        cluster.kill("a")
        cluster.start("c")
        messages = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 0, messages
    rehearsal.check(store)
    events = journal(store)
    lost = [event for event in events if event["event"] == "failed"]
    assert [event["device"] for event in lost] == ["a cpu"]
    assert "was lost" in str(lost[0]["error"])
    made = [event["device"] for event in events if event["event"] == "made"]
    assert len(made) == SHARDS
    assert made[len(before) :] == ["c cpu"] * (SHARDS - len(before))


def test_a_store_in_a_bucket_gives_the_bytes_of_one_machine_though_a_node_is_killed(
    rehearsal: Rehearsal,
    seaweedfs: S3Server,
    cluster: RayCluster,
    pace: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No folder is shared, the run's machine has no Paddle, and one node has no credentials."""
    cluster.have("a", "b")
    cluster.start("bare", *CREDENTIALS)
    set_pace(pace, SLOW)
    root = use_server(seaweedfs, tmp_path, monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    server = f"store.endpoint={seaweedfs.url}"
    overrides = [f"store.path={root}", server, f"cluster.address={cluster.address}"]
    overrides += ["predict.executor=ray", "predict.device=cpu"]
    findings = examine_cluster(load_settings(ROOT / "configs/demo.yaml", overrides))
    faults = [one for one in findings if one.severity == "fault"]
    assert [one.key for one in faults] == ["store.path"]
    assert "node bare: cannot read" in faults[0].problem
    assert "there are no credentials" in faults[0].problem
    assert storage_of(root).list_folder(root / "claims") == []

    program = wenti_without_paddle(tmp_path_factory.mktemp("machine") / "packages")
    driver = replace(rehearsal, program=program, is_warm=False)
    with start(driver, root, cluster, server, **CREDENTIALS, HOME=str(tmp_path)) as run:
        wait_until(lambda: len(shards_in(root)) > 0)
        cluster.kill("a")
        messages = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 0, messages
    assert "node bare cannot be used: cannot read" in messages
    assert f"planned with {describe_paddle()} and PaddleNLP " in messages
    assert re.search("the export was made on [ab] cpu", messages)
    exports = storage_of(root).list_folder(root / "exports")
    local_exports = (rehearsal.undisturbed / "exports").iterdir()
    assert [one.name for one in exports] == [one.name for one in local_exports]
    folder = find_results("latest", Store(root))
    local = find_results("latest", Store(rehearsal.undisturbed))
    for name in RESULTS:
        assert storage_of(folder).read(folder / name) == Path(local / name).read_bytes(), name
    assert [part for part in verify_run(folder) if part.state != "ok"] == []
    places = {history.device for history in read_journal(folder / JOURNAL_FILE).values()}
    assert "b cpu" in places <= {"a cpu", "b cpu"}
    assert list(cluster.home("b").glob(".cache/wenti/objects/files/*/*/part-*.parquet"))
    files = [one for one in (*cluster.folder.rglob("*"), *tmp_path.rglob("*")) if one.is_file()]
    assert len(files) > 50
    assert SECRET not in messages
    assert not [one for one in files if SECRET.encode() in one.read_bytes()]
    stored = [one for one in storage_of(root).fetch(root).rglob("*") if one.is_file()]
    assert not [one for one in stored if SECRET.encode() in one.read_bytes()]


def test_without_its_head_a_run_ends_readably_and_is_finished_on_one_machine(
    rehearsal: Rehearsal, store: Path, cluster: RayCluster, pace: Path
) -> None:
    cluster.have("a", "b")
    set_pace(pace, SLOW)
    with start(rehearsal, store, cluster) as run:
        wait_until(lambda: len(manifests(store)) > 0)
        cluster.kill(HEAD)
        messages = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 3, messages
    assert "its head is gone" in messages
    assert json.loads((store / "runs/newest/run.json").read_bytes())["state"] == "failed"
    kept = {path: path.read_bytes() for path in manifests(store)}
    assert 0 < len(kept) < SHARDS
    code, messages = rehearsal.run(store)
    assert code == 0, messages
    rehearsal.check(store)
    run_id = (store / "runs/latest").resolve().name
    assert made_by(store, [run_id]) == [SHARDS - len(kept)]
    assert all(path.read_bytes() == content for path, content in kept.items())
