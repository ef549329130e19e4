"""A run that drops questions and tells groups of rows, over the questions of an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tests.support.commands import DEMO_ROWS, RunFlow
from tests.support.engine_reference import read_passages
from tests.support.rehearsal import ROOT

TWICE = 5


def test_a_run_is_cleaned_and_told_in_groups_without_generating_again(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    first = (store / "runs/latest").resolve()
    passages = read_passages(ROOT / "data/passages/heldout.jsonl", DEMO_ROWS)
    rows = [{**row, "source": ["wiki", None][at % 2]} for at, row in enumerate(passages)]
    rows += [{**row, "id": f"again {row['id']}", "source": "more"} for row in passages[:TWICE]]
    path = tmp_path / "twice.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    changes = ("dataset.limit=null", f"dataset.predict_file={path}")
    asked = ("aggregate.keep={duplicate: false}", "aggregate.group_by=[source]")
    result = run_demo(store, *changes, *asked)
    run, metrics = Path(result["folder"]), result["metrics"]
    assert (metrics["rows_made"], metrics["rows_reused"]) == (0, DEMO_ROWS + TWICE)
    assert (metrics["predictions"], metrics["rows_dropped"]) == (DEMO_ROWS, TWICE)
    assert metrics["quality"]["flags"]["duplicate"] == TWICE
    kept, judged, rejects = (
        pq.read_table(run / f"{name}.parquet") for name in ("predictions", "quality", "rejects")
    )
    assert kept["row"].to_pylist() == judged["row"].to_pylist() == [*range(DEMO_ROWS)]
    before = pq.read_table(first / "predictions.parquet", columns=["question"])
    assert kept.select(["question"]).equals(before)
    assert rejects["row"].to_pylist() == [*range(DEMO_ROWS, DEMO_ROWS + TWICE)]
    assert rejects["reason"].to_pylist() == ["quality:duplicate"] * TWICE
    told = [
        (group["values"], group["rows"], group["rejects"], group["references"])
        for group in metrics["groups"]["shown"]
    ]
    half = DEMO_ROWS // 2
    assert told == [
        (["wiki"], half, 0, half),
        ([None], half, 0, half),
        (["more"], TWICE, TWICE, 0),
    ]
    key = ArtifactFilterKey(any_=["wenti-groups-demo"])
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    table = json.loads(str(shown.data))
    assert [row["group"] for row in table] == ["source=wiki", "source=null", "source=more"]
    assert "aggregate.keep" in (run / "report.html").read_text(encoding="utf-8")
