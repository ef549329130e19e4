from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tasks.config.settings import DecodeSettings
from tasks.engine.paddle.api import MODEL_SUFFIX
from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.errors import InputError, ShardsFailedError
from tests.support.commands import DEMO_ROWS, DEMO_ROWS_PER_SHARD, RunFlow
from tests.support.engine_reference import (
    MASK,
    generate_in_batches,
    load_reference,
    read_passages,
    tokenized,
)
from tests.support.rehearsal import ROOT

CHECKPOINT = ROOT / "data/checkpoint"

RESULTS = ("predictions.parquet", "predictions.jsonl", "predictions.txt", "rejects.parquet")


def results_of(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in RESULTS}


def shards_in(store: Path) -> list[Path]:
    return sorted(store.glob("predictions/*/shard-*.parquet"))


def test_a_run_leaves_every_row_in_input_order_in_all_formats(demo_store: Path) -> None:
    run = demo_store / "runs/latest"
    expected = read_passages(ROOT / "data/passages/heldout.jsonl", DEMO_ROWS)
    table = pq.read_table(run / "predictions.parquet").to_pylist()
    lines = read_passages(run / "predictions.jsonl", len(expected) + 1)
    text = (run / "predictions.txt").read_text(encoding="utf-8").splitlines()
    assert [row["id"] for row in table] == [row["id"] for row in expected]
    assert [row["context"] for row in table] == [row["context"] for row in expected]
    assert [row["reference"] for row in table] == [row["question"] for row in expected]
    assert [row["question"] for row in table] == text == [line["question"] for line in lines]
    assert [line["id"] for line in lines] == [row["id"] for row in table]
    assert (run / "_SUCCESS").exists()


def test_the_demo_reaches_its_bleu(demo_store: Path) -> None:
    metrics = json.loads((demo_store / "runs/latest/metrics.json").read_text())
    assert metrics["bleu_4"] >= 50
    assert metrics["rows_in"] == metrics["predictions"] == metrics["references"]


def test_a_second_run_does_no_work_and_gives_the_same_files(store: Path, run_demo: RunFlow) -> None:
    first = results_of(store / "runs/latest")
    result = run_demo(store)
    metrics = result["metrics"]
    assert (metrics["shards_made"], metrics["shards_reused"]) == (0, metrics["shards_planned"])
    assert results_of(Path(result["folder"])) == first
    assert len(list(store.glob("runs/2*"))) == 2


def test_an_appended_row_is_the_only_one_that_is_generated(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    first = read_texts(store / "runs/latest")
    path = tmp_path / "grown.jsonl"
    row = json.dumps({"context": "泰山位于山东省。", "answer": "山东省", "id": "new"})
    old = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*old[:DEMO_ROWS], row]), encoding="utf-8")
    result = run_demo(store, f"dataset.predict_file={path}", "dataset.limit=null")
    assert (result["metrics"]["rows_made"], result["metrics"]["rows_reused"]) == (1, len(first))
    assert list(result["metrics"]["reused_from"].values()) == [len(first)]
    path.write_text(row, encoding="utf-8")
    afresh = run_demo(tmp_path / "other", f"dataset.predict_file={path}")
    texts, (alone,) = (read_texts(Path(run["folder"])) for run in (result, afresh))
    assert texts == [*first, alone | {"row": len(first)}]


def test_an_export_is_enough_when_the_model_is_gone(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    first = read_texts(store / "runs/latest")
    model, passages = tmp_path / "model", tmp_path / "few.jsonl"
    shutil.copytree(CHECKPOINT, model)
    lines = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()
    passages.write_text("\n".join(lines[:DEMO_ROWS_PER_SHARD]), encoding="utf-8")
    places = (
        f"model.model_name_or_path={model}",
        f"export.inference_model_dir={tmp_path / 'exported'}",
    )
    metrics = run_demo(store, *places)["metrics"]
    assert metrics["shards_made"] == 0
    shutil.rmtree(model)
    result = run_demo(tmp_path / "other", *places, f"dataset.predict_file={passages}")
    assert result["metrics"]["shards_made"] == 1
    assert read_texts(Path(result["folder"])) == first[:DEMO_ROWS_PER_SHARD]
    (export,) = (tmp_path / "other/exports").iterdir()
    for path in (store / "exports" / export.name).iterdir():
        assert (export / path.name).read_bytes() == path.read_bytes(), path.name


def read_texts(run: Path) -> list[dict[str, Any]]:
    """Return the predictions of a run without scores, whose last digits may differ."""
    columns = ["row", "id", "context", "answer", "reference", "question", "output_ids"]
    return pq.read_table(run / "predictions.parquet", columns=columns).to_pylist()


@pytest.mark.parametrize("harm", ["deleted", "shortened", "without manifest"])
def test_only_a_harmed_shard_is_made_again(store: Path, run_demo: RunFlow, harm: str) -> None:
    first = results_of(store / "runs/latest")
    victim = shards_in(store)[1]
    content, others = victim.read_bytes(), {path: path.stat().st_ino for path in shards_in(store)}
    if harm == "deleted":
        victim.unlink()
    elif harm == "shortened":
        victim.write_bytes(content[:-100])
    else:
        victim.with_suffix(".json").unlink()
    result = run_demo(store)
    assert result["metrics"]["shards_made"] == 1
    assert victim.read_bytes() == content
    assert results_of(Path(result["folder"])) == first
    del others[victim]
    assert {path: path.stat().st_ino for path in others} == others


def test_a_changed_option_makes_what_it_changes_and_reuses_the_rest(
    store: Path, run_demo: RunFlow
) -> None:
    result = run_demo(store, "decode.num_beams=2", "shards.rows_per_shard=1000")
    assert result["metrics"]["shards_made"] == 1
    assert len(list(store.glob("exports/*"))) == 2
    assert len(list(store.glob("datasets/*"))) == 1


def test_sampled_questions_depend_on_neither_shards_nor_batches_nor_place(
    tmp_path: Path, run_demo: RunFlow
) -> None:
    path = tmp_path / "passages.jsonl"
    with (ROOT / "data/passages/heldout.jsonl").open(encoding="utf-8") as passages:
        lines = list(islice(passages, 20))
    plan = ("decode.decoding_strategy=sampling", "shards.reuse_rows=false")
    texts = []
    for order, others in (
        (lines, ()),
        (lines[::-1], ("shards.rows_per_shard=7", "predict.batch_size=3")),
    ):
        path.write_text("".join(order), encoding="utf-8")
        result = run_demo(tmp_path / "store", f"dataset.predict_file={path}", *plan, *others)
        text = (Path(result["folder"]) / "predictions.txt").read_text(encoding="utf-8")
        texts.append(text.splitlines())
    assert texts[0] == texts[1][::-1]
    assert len(set(texts[0])) > 10


def kill_a_worker_soon(stop: threading.Event) -> None:
    """Kill the first child of this process that has loaded an exported model, once."""
    while not stop.is_set():
        for child in psutil.Process().children(recursive=True):
            try:
                maps = {Path(entry.path).name for entry in child.memory_maps()}
            except psutil.Error:
                continue
            if any(name.startswith("libpaddle") for name in maps):
                os.kill(child.pid, signal.SIGKILL)
                return
        time.sleep(0.1)


def test_a_killed_worker_costs_its_attempt_and_not_the_run(store: Path, run_demo: RunFlow) -> None:
    first = results_of(store / "runs/latest")
    shutil.rmtree(store / "predictions")
    stop = threading.Event()
    killer = threading.Thread(target=kill_a_worker_soon, args=(stop,))
    killer.start()
    try:
        result = run_demo(store)
    finally:
        stop.set()
        killer.join()
    assert result["metrics"]["shards_failed"] == 0
    assert results_of(Path(result["folder"])) == first


def test_two_workers_share_the_shards(store: Path, run_demo: RunFlow) -> None:
    first = results_of(store / "runs/latest")
    shutil.rmtree(store / "predictions")
    result = run_demo(store, "predict.devices=[cpu:0, cpu:1]")
    metrics = result["metrics"]
    assert metrics["shards_made"] == metrics["shards_planned"]
    assert results_of(Path(result["folder"])) == first
    devices = metrics["devices"]
    assert set(devices) == {"cpu:0", "cpu:1"}
    assert sum(figures["shards"] for figures in devices.values()) == metrics["shards_made"]
    for figures in devices.values():
        assert figures["rows"] > 0
        assert figures["peak_memory_mb"] > 100  # Paddle alone takes more
        assert figures["cpu_seconds"] > 0


def test_unusable_rows_are_rejected_with_line_and_reason_and_no_row_is_lost(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    good = (ROOT / "data/passages/heldout.jsonl").read_text(encoding="utf-8").splitlines()[:4]
    bad = ["not JSON", '{"context": "", "answer": "a"}', '{"context": "a"}', '{"context": 1}']
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join(line for pair in zip(good, bad, strict=True) for line in pair))
    result = run_demo(store, f"dataset.predict_file={mixed}")
    run = Path(result["folder"])
    rejects = pq.read_table(run / "rejects.parquet").to_pylist()
    predictions = pq.read_table(run / "predictions.parquet").to_pylist()
    assert [row["row"] for row in predictions] == [0, 2, 4, 6]
    assert [(row["row"], row["line"]) for row in rejects] == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert [row["reason"] for row in rejects] == [
        "not_json",
        "empty_field",
        "missing_field",
        "wrong_type",
    ]
    assert (result["metrics"]["rows_in"], result["metrics"]["rejects"]) == (8, 4)


def test_copies_go_where_the_config_says(store: Path, run_demo: RunFlow, tmp_path: Path) -> None:
    output, model = tmp_path / "out" / "predict.txt", tmp_path / "model"
    result = run_demo(
        store, f"aggregate.output_path={output}", f"export.inference_model_dir={model}"
    )
    assert output.read_bytes() == (Path(result["folder"]) / "predictions.txt").read_bytes()
    references = output.with_name("predict.txt.reference.txt").read_text(encoding="utf-8")
    assert len(references.splitlines()) == result["metrics"]["predictions"]
    assert {f"unimo_text{MODEL_SUFFIX}", "unimo_text.pdiparams", "contract.json"} <= {
        path.name for path in model.iterdir()
    }


def test_passages_without_references_have_null_scores(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_text('{"context": "泰山位于山东省。", "answer": "山东省"}\n', encoding="utf-8")
    metrics = run_demo(store, f"dataset.predict_file={path}")["metrics"]
    scores = {name: metrics[name] for name in ("bleu_1", "bleu_4", "rouge_l", "exact_match")}
    assert set(scores.values()) == {None}
    assert metrics["predictions"] == 1


def test_an_input_without_a_usable_row_ends_the_run_and_leaves_no_dataset(
    store: Path, run_demo: RunFlow, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"context": "a", "answer": " "}\nnot JSON\nnor this\n')
    before = sorted(store.glob("datasets/*"))
    with pytest.raises(InputError, match="not_json"):
        run_demo(store, f"dataset.predict_file={path}")
    assert sorted(store.glob("datasets/*")) == before
    record = json.loads((store / "runs/newest/run.json").read_text())
    assert record["state"] == "failed"


def test_failed_shards_make_the_run_fail_and_the_next_run_finishes(
    store: Path, run_demo: RunFlow
) -> None:
    first = results_of(store / "runs/latest")
    victim = shards_in(store)[2]
    victim.unlink()
    victim.mkdir()  # renaming a file to a folder always fails
    with pytest.raises(ShardsFailedError, match="shard 2:"):
        run_demo(store)
    victim.rmdir()
    result = run_demo(store)
    assert result["metrics"]["shards_made"] == 1
    assert results_of(Path(result["folder"])) == first


def questions_by_paddlenlp(passages: list[dict[str, str]]) -> list[str]:
    """Do what PaddleNLP's example does: tokenize, generate, cut at [MASK], join, drop prefix."""
    tokenizer = import_paddlenlp().transformers.UNIMOTokenizer.from_pretrained(str(CHECKPOINT))
    rows = tokenized(CHECKPOINT, passages)
    generated = generate_in_batches(load_reference(CHECKPOINT), rows, DecodeSettings())
    questions = []
    for ids in generated.tokens[:, 0].tolist():
        body = ids[: ids.index(MASK)] if MASK in ids else ids
        words = tokenizer.merge_subword(tokenizer.convert_ids_to_tokens(body))
        text = "".join(word for word in words if word != "[UNK]")
        questions.append(text.removeprefix("问题："))
    return questions


def test_the_questions_are_those_of_paddlenlps_generate(demo_store: Path) -> None:
    ours = (demo_store / "runs/latest/predictions.txt").read_text(encoding="utf-8").splitlines()
    passages = read_passages(ROOT / "data/passages/heldout.jsonl", 24)
    assert ours[:24] == questions_by_paddlenlp(passages)
