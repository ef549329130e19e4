"""The gate between nights on real runs: a spoiled model is caught, and noise is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.sorting import FlowRunSort
from safetensors.numpy import save_file

from tasks.aggregate.gate.drift import find_drift
from tasks.aggregate.gate.limits import Level
from tasks.engine.model_files import ModelFiles, hash_model
from tasks.engine.weights.read import read_weights
from tasks.quality.flags import summarize
from tests.support.commands import RunFlow
from tests.support.rehearsal import ROOT, Rehearsal

CHECKPOINT = ROOT / "data/checkpoint"
NIGHTS = 20


def spoil(folder: Path) -> Path:
    """Write the demo's checkpoint with noise in its weights into a folder; return the folder."""
    shutil.copytree(CHECKPOINT, folder)
    draw = np.random.default_rng(7)
    files = ModelFiles(CHECKPOINT, hash_model(CHECKPOINT))
    weights = {
        name: (array + 0.3 * array.std() * draw.standard_normal(array.shape)).astype(array.dtype)
        for name, array in read_weights(files)
    }
    (folder / "model_state.pdparams").unlink()
    save_file(weights, folder / "model.safetensors", {"format": "np"})
    return folder


def newest_state() -> Any:  # noqa: ANN401 of Prefect
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    return run.state


def trend_of(run: UUID) -> list[dict[str, str]]:
    """Return the table of the trend on a run's page."""
    of_run, key = ArtifactFilterFlowRunId(any_=[run]), ArtifactFilterKey(any_=["wenti-trend-demo"])
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=of_run, key=key)
        (shown,) = client.read_artifacts(artifact_filter=wanted)
    rows: list[dict[str, str]] = json.loads(str(shown.data))
    return rows


def test_a_spoiled_model_is_caught_and_noise_is_not(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    """The latter even if any difference counts, however small."""
    lines = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    passages = tmp_path / "tonight.jsonl"
    passages.write_text("\n".join(lines[:48]), encoding="utf-8")
    tonight = (f"dataset.predict_file={passages}", "quality.max_drift=0.05")
    model = f"model.model_name_or_path={spoil(tmp_path / 'spoiled')}"
    before = (store / "runs/latest").resolve().name
    result = run_demo(store, *tonight, model)
    gate = result["metrics"]["gate"]
    assert gate["since"] == before
    assert "score_per_token" in [one["measure"] for one in gate["breaches"]]
    state = newest_state()
    assert (state.type.value, state.name) == ("COMPLETED", "Suspect")
    assert f"compared with run {gate['since']}" in state.message
    assert "The questions are suspect" in (Path(result["folder"]) / "report.html").read_text(
        "utf-8"
    )
    first, last = trend_of(state.state_details.flow_run_id)
    assert (first["run"], first["state"], last["state"]) == (before, "completed", "suspect")
    assert "model file model.safetensors is new" in last["changed"]
    good, spoiled = store / "runs" / before, Path(result["folder"])
    draw = np.random.default_rng(20)
    for tonight_run, is_caught in ((good, False), (spoiled, True)):
        alarms = [
            bool([*find_drift(0, resample(tonight_run, draw), resample(good, draw))])
            for _ in range(NIGHTS)
        ]
        assert alarms == [is_caught] * NIGHTS


def resample(run: Path, draw: np.random.Generator) -> Level:
    """Return the level of a night whose rows are drawn from those of a run, with replacement."""
    judged = pq.read_table(run / "quality.parquet")
    rows = judged.take(draw.integers(len(judged), size=len(judged))).combine_chunks()
    metrics = json.loads((run / "metrics.json").read_text())
    level = Level.of(metrics | {"quality": summarize(pa.Table.to_batches(rows))})
    assert level is not None
    return level


@pytest.fixture
def empty(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    """A store with the shards of the undisturbed run."""
    shutil.copytree(rehearsal.undisturbed, tmp_path / "store", symlinks=True)
    return tmp_path / "store"


def test_a_suspect_run_that_fails_delivers_nothing_and_can_be_accepted(
    rehearsal: Rehearsal, empty: Path, tmp_path: Path
) -> None:
    output, before = tmp_path / "questions.txt", (empty / "runs/latest").resolve()
    limits = ("quality.max_rejects=0.05", f"aggregate.output_path={output}")
    code, said = rehearsal.run(empty, *limits, "quality.on_breach=fail")
    assert code == 4, said
    run = (empty / "runs/newest").resolve()
    assert f"the questions in {run} are suspect" in said
    assert "rejects 3 of 30 (10.0 %); quality.max_rejects is 0.05" in said
    assert "Traceback" not in said
    assert (empty / "runs/latest").resolve() == before
    assert not output.exists()
    assert json.loads((run / "run.json").read_text())["state"] == "failed"
    assert json.loads((run / "metrics.json").read_text())["gate"]["breaches"]
    assert "The questions are suspect" in (run / "report.html").read_text("utf-8")
    shown = rehearsal.wenti("show", run, "-n", "1")
    assert shown.stdout.startswith("row "), shown.stderr
    assert "nothing of it was delivered" in shown.stderr
    code, said = rehearsal.run(empty, *limits)
    assert code == 0, said
    assert output.exists()
    assert (empty / "runs/latest").resolve() != before
    listed = rehearsal.wenti("runs", "--store", empty, "--json").stdout
    assert [one["state"] for one in json.loads(listed)][:2] == ["suspect", "failed"]
