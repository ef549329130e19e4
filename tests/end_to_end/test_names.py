"""Names of files that YAML, a shell or UTF-8 would spoil, from the command line to the results."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.support.rehearsal import RESULTS, SHARDS, Rehearsal

GBK = os.fsdecode("数据 #1: [2]".encode("gbk"))


def test_names_in_gbk_bytes_with_yaml_in_them_work_like_any_others(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder = tmp_path / GBK
    folder.mkdir()
    store, passages, output = (folder / f"{GBK}{end}" for end in ("", ".jsonl", ".txt"))
    shutil.copy(rehearsal.passages, passages)
    places = (f"dataset.predict_file={passages}", f"aggregate.output_path={output}")
    code, messages = rehearsal.run(store, *places)
    assert code == 0, messages
    assert "Traceback" not in messages
    for step in ("joining the shards", "computing the metrics", "writing the report"):
        assert f"aggregate: {step}" in messages
    latest, undisturbed = store / "runs/latest", rehearsal.undisturbed / "runs/latest"
    for name in RESULTS:
        assert (latest / name).read_bytes() == (undisturbed / name).read_bytes()
    assert output.read_bytes() == (latest / "predictions.txt").read_bytes()

    rerun = rehearsal.wenti("rerun", "newest", "--store", store, "--shards", "0", "--json")
    assert rerun.returncode == 0, rerun.stderr
    assert json.loads(rerun.stdout)["metrics"]["shards_reused"] == SHARDS
    assert "already made, and reused: shard 0; --force" in rerun.stderr
