from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.plan.changes import find_changes
from tasks.runs.find import find_previous
from tasks.store.layout import Store
from tests.support.planned_jobs import plan_job, write_job
from tests.support.run_records import least_record

Decided = dict[str, dict[str, Any]]

# The expected words for each value that decides a checkpoint; new values must be added here.
WORDS = {
    "export": {
        "format": "Wenti's own format of exported models",
        "engine": "export.engine",
        "engine_version": "the version of the engine",
        "paddlepaddle": "Paddle",
        "paddlenlp": "PaddleNLP",
        "model/config.json": "model file config.json",
        "model/model_state.pdparams": "model file model_state.pdparams",
        "model/vocab.txt": "model file vocab.txt",
        "decode/decoding_strategy": "decode.decoding_strategy",
        "decode/max_dec_len": "decode.max_dec_len",
        "decode/min_dec_len": "decode.min_dec_len",
        "decode/num_beams": "decode.num_beams",
        "decode/length_penalty": "decode.length_penalty",
        "decode/topk": "decode.topk",
        "decode/topp": "decode.topp",
        "decode/temperature": "decode.temperature",
        "decode/seed": "decode.seed",
        "decode/num_return_sequences": "decode.num_return_sequences",
        "decode/diversity_rate": "decode.diversity_rate",
        "decode/early_stopping": "decode.early_stopping",
        "decode/repetition_penalty": "decode.repetition_penalty",
        "use_fp16_decoding": "export.use_fp16_decoding",
        "half_version": "the version of half precision",
        "tensorrt/version": "the version of the preparation for TensorRT",
        "tensorrt/rows": "predict.batch_size for TensorRT",
        "tensorrt/tokens": "dataset.max_seq_len for TensorRT",
        "tensorrt/most_tokens": "predict.max_tokens_per_batch for TensorRT",
    },
    "dataset": {
        "format": "Wenti's own format of datasets",
        "paddlenlp": "PaddleNLP",
        "pyarrow": "PyArrow",
        "tokenizer/vocab.txt": "tokenizer file vocab.txt",
        "passages/dataset_name": "dataset.dataset_name",
        "passages/split": "dataset.split",
        "passages/kind": "the kind of dataset.predict_file",
        "passages/sha256": "the content of dataset.predict_file",
        "passages/encoding": "dataset.encoding",
        "passages/delimiter": "dataset.delimiter",
        "passages/several": "the reading of several answers",
        "passages/fields/context": "the field read as context",
        "passages/fields/answer": "the field read as answer",
        "passages/fields/reference": "the field read as reference",
        "passages/fields/id": "the field read as id",
        "template": "dataset.template",
        "max_seq_len": "dataset.max_seq_len",
        "max_title_len": "dataset.max_title_len",
        "limit": "dataset.limit",
    },
    "predictions": {
        "format": "Wenti's own format of shards",
        "pyarrow": "PyArrow",
        "export": "export",
        "dataset": "load",
        "rows_per_shard": "shards.rows_per_shard",
        "device": "predict.device",
        "batch_size": "predict.batch_size",
        "max_tokens_per_batch": "predict.max_tokens_per_batch",
        "precision": "predict.precision",
        "use_tensorrt": "predict.use_tensorrt",
        "enable_mkldnn": "predict.enable_mkldnn",
        "cpu_threads": "predict.cpu_threads",
    },
}
STAGES = {"export": "export", "dataset": "load", "predictions": "predict"}
NOTHING_THERE = dict.fromkeys(STAGES, False)
ALL_THERE = dict.fromkeys(STAGES, True)


# The passages are a file or a named data set; each kind of device has its own options.
VARIANTS: list[tuple[str, ...]] = [
    (),
    ("decode.num_beams=1",),
    ("dataset.predict_file=null",),
    ("dataset.encoding=gb18030",),
    ("dataset.limit=1",),
    ("dataset.fields={context: text, answer: text2, reference: text3, id: text4}",),
    ("predict.device=gpu",),
    ("predict.device=gpu", "predict.precision=fp16"),
    ("predict.device=gpu", "predict.use_tensorrt=true"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_job(tmp_path)


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> list[Decided]:
    folder = write_job(tmp_path_factory.mktemp("variants"))
    texts = dict.fromkeys(("context", "answer", "text", "text2", "text3", "text4"), "a")
    (folder / "passages.jsonl").write_text(json.dumps(texts))
    (folder / "several.jsonl").write_text('{"context": "c", "answers": ["a", "b"]}')
    several = (f"dataset.predict_file={folder / 'several.jsonl'}",)
    (folder / "a.csv").write_text("context^answer\na^b\n")
    separated = (f"dataset.predict_file={folder / 'a.csv'}", "dataset.delimiter=^")
    return [decide(folder, *overrides) for overrides in (*VARIANTS, several, separated)]


def decide(folder: Path, *overrides: str) -> Decided:
    plan = plan_job(folder, *overrides)
    decided = {part: getattr(plan, part).decided_by for part in STAGES}
    restored: Decided = json.loads(json.dumps(decided))  # as run.json keeps it
    return restored


def describe(before: Decided, now: Decided, is_there: dict[str, bool]) -> list[str]:
    return [str(change) for change in find_changes(before, now, is_there)]


def leaves(values: dict[str, Any]) -> list[str]:
    nested = {name: value for name, value in values.items() if isinstance(value, dict)}
    return [name for name in values if name not in nested and name != "stage"] + [
        f"{name}/{inner}" for name, value in nested.items() for inner in leaves(value)
    ]


def alter(values: dict[str, Any], leaf: str, how: str) -> None:
    *outer, name = leaf.split("/")
    inner = values
    for step in outer:
        inner = inner[step]
    if how == "gone":
        del inner[name]
    else:
        inner[name] = [inner[name], "and more"]


@given(data=st.data())
def test_exactly_the_values_that_differ_are_named_in_the_change_of_their_stage(
    variants: list[Decided], data: st.DataObject
) -> None:
    before = data.draw(st.sampled_from(variants))
    now = deepcopy(before)
    hows = st.sampled_from(["changed", "gone"])
    altered = {
        part: data.draw(st.dictionaries(st.sampled_from(leaves(before[part])), hows, max_size=4))
        for part in STAGES
    }
    for part, ways in altered.items():
        for leaf, how in ways.items():
            alter(now[part], leaf, how)
    if data.draw(st.booleans(), "backwards, so that what is gone is new"):
        before, now = now, before
    changes = find_changes(before, now, NOTHING_THERE)
    if not any(altered.values()):
        assert changes == []
        return
    for (part, name), change in zip(STAGES.items(), changes, strict=True):
        assert (change.stage, change.outcome != "") == (name, True)
        named = [
            leaf
            for leaf, words in WORDS[part].items()
            for cause in change.causes
            if re.match(f"{re.escape(words)} (was .* and is |changed$|is new$|is gone$)", cause)
        ]
        assert sorted(named) == sorted(altered[part])
        assert len(named) == len(change.causes)


def test_there_are_words_for_every_value_that_decides_a_checkpoint(
    variants: list[Decided],
) -> None:
    for part, words in WORDS.items():
        assert {leaf for variant in variants for leaf in leaves(variant[part])} <= set(words)


def test_a_changed_option_is_told_with_both_values_and_what_follows(folder: Path) -> None:
    before, now = decide(folder), decide(folder, "decode.num_beams=2", "predict.batch_size=8")
    assert describe(before, now, {**NOTHING_THERE, "dataset": True}) == [
        "export: decode.num_beams was 6 and is 2: remade",
        "load: unchanged: reused",
        "predict: export changed, predict.batch_size was 16 and is 8: every shard is remade",
    ]


def test_what_an_earlier_run_left_is_found_not_made(folder: Path) -> None:
    before, now = decide(folder, "decode.num_beams=2"), decide(folder)
    assert describe(before, now, ALL_THERE) == [
        "export: decode.num_beams was 2 and is 6: found in the store",
        "load: unchanged: reused",
        "predict: export changed: shards in the store are reused, the others are made",
    ]


def test_what_never_got_made_is_not_called_reused(folder: Path) -> None:
    before, now = decide(folder), decide(folder, "predict.batch_size=8")
    export, load, predict = describe(before, now, NOTHING_THERE)
    assert export == "export: unchanged: not in the store, made now"
    assert load == "load: unchanged: not in the store, made now"
    assert predict.endswith("every shard is remade")


def test_a_changed_file_is_told_without_its_sha256(folder: Path) -> None:
    before = decide(folder)
    (folder / "passages.jsonl").write_text('{"context": "a", "answer": "c"}\n')
    (folder / "model" / "special_tokens_map.json").write_text("{}")
    now = decide(folder)
    (folder / "model" / "special_tokens_map.json").unlink()
    assert describe(before, now, NOTHING_THERE) == [
        "export: model file special_tokens_map.json is new: remade",
        "load: tokenizer file special_tokens_map.json is new, "
        "the content of dataset.predict_file changed: remade",
        "predict: export changed, load changed: every shard is remade",
    ]


def test_another_device_takes_its_own_options_with_it(folder: Path) -> None:
    before, now = decide(folder), decide(folder, "predict.device=gpu")
    *_, predict = describe(before, now, ALL_THERE)
    assert "predict.device was cpu and is gpu" in predict
    assert "predict.use_tensorrt was not used and is false" in predict
    assert "predict.cpu_threads was 10 and is not used" in predict


@pytest.mark.parametrize("decided_by", [{}, {"export": None, "dataset": "a", "predictions": {}}])
def test_a_record_that_says_something_else_ends_no_run(
    folder: Path, decided_by: dict[str, Any]
) -> None:
    assert len(find_changes(decided_by, decide(folder), NOTHING_THERE)) == len(STAGES)


@pytest.mark.parametrize(
    "override",
    ["store.path=elsewhere", "predict.devices=[cpu, cpu]", "aggregate.allow_partial=true"],
)
def test_nothing_is_said_of_options_that_change_no_checkpoint(folder: Path, override: str) -> None:
    assert find_changes(decide(folder), decide(folder, override), ALL_THERE) == []


def test_another_file_of_passages_is_told_by_its_name(folder: Path) -> None:
    before = decide(folder)
    (folder / "passages.jsonl").write_text('{"context": "c", "answer": "d"}\n')
    now = decide(folder)

    def causes(*files: str | None) -> tuple[str, ...]:
        export, load, _ = find_changes(before, now, ALL_THERE, (files[0], files[1]))
        assert export.causes == ()
        return load.causes

    content = ("the content of dataset.predict_file changed",)
    assert causes("22.jsonl", "23.jsonl") == ("dataset.predict_file was 22.jsonl and is 23.jsonl",)
    assert causes("22.jsonl", "22.jsonl") == causes(None, "22.jsonl") == content
    # Another name of the same content changes nothing.
    assert find_changes(before, before, ALL_THERE, ("22.jsonl", "23.jsonl")) == []


def test_files_that_changed_are_named_but_not_all_of_many(folder: Path) -> None:
    passages = folder / "in"
    passages.mkdir()
    for number in range(8):
        (passages / f"{number}.jsonl").write_text('{"context": "c", "answer": "d"}\n')
    named = f"dataset.predict_file={passages}"
    before = decide(folder, named)
    (passages / "0.jsonl").unlink()
    (passages / "8.jsonl").write_text('{"context": "c", "answer": "d"}\n')
    (passages / "7.jsonl").write_text('{"context": "c", "answer": "e"}\n')
    now = decide(folder, named)
    _, load, _ = find_changes(before, now, ALL_THERE)
    assert load.causes == (
        "file of passages 7.jsonl changed",
        "file of passages 8.jsonl is new",
        "file of passages 0.jsonl is gone",
    )
    for number in range(1, 6):
        (passages / f"{number}.jsonl").unlink()
    _, load, _ = find_changes(before, decide(folder, named), ALL_THERE)
    assert load.causes[3:] == ("5 more files of passages",)
    _, load, _ = find_changes(before, now, ALL_THERE, ("a", "b"))
    assert load.causes == ("dataset.predict_file was a and is b",)


def test_another_order_of_the_same_files_is_told_without_the_files(folder: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text('{"context": "c", "answer": "d"}\n')
    before, now = (
        decide(folder, f"dataset.predict_file=[{folder}/{one}.jsonl, {folder}/{two}.jsonl]")
        for one, two in ("ab", "ba")
    )
    _, load, _ = find_changes(before, now, ALL_THERE)
    assert load.causes == ("the order of dataset.predict_file changed",)


def test_other_names_of_folders_are_told_once_whatever_their_number(folder: Path) -> None:
    for day in (1, 2):
        for name in ("a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl"):
            path = folder / f"dt={day}/in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"context": "c", "answer": "d"}\n')
    fields = "dataset.fields={id: dt}"
    given = [f"dataset.predict_file={folder}/dt={day}/in" for day in (1, 2)]
    before, now = decide(folder, given[0], fields), decide(folder, given[1], fields)
    _, load, _ = find_changes(before, now, ALL_THERE)
    assert load.causes == ("the names of the folders of dataset.predict_file changed",)
    _, load, _ = find_changes(before, now, ALL_THERE, ("1", "2"))
    assert load.causes == ("dataset.predict_file was 1 and is 2",)
    unread = decide(folder, given[0])
    _, load, _ = find_changes(before, unread, ALL_THERE)
    assert load.causes == (
        "the field read as id was dt and is not used",
        "the names of the folders of dataset.predict_file changed",
    )


def write_run(store: Store, run_id: str, content: object) -> None:
    folder = store.run_folder(run_id)
    folder.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "run.json").write_text(text)
    (folder / "_SUCCESS").touch()


def of_config(run_id: str, config_file: str) -> dict[str, Any]:
    return least_record(run_id, config_file=config_file, decided_by={"export": {}})


def test_the_newest_run_of_the_same_config_is_found_and_what_is_no_record_skipped(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    ids = [f"20261123-0{hour}0000-abcdef" for hour in range(8)]
    write_run(store, ids[0], of_config(ids[0], "/a.yaml"))
    write_run(store, ids[1], of_config(ids[1], "/a.yaml"))
    write_run(store, ids[2], of_config(ids[2], "/b.yaml"))
    write_run(
        store, ids[3], least_record(ids[3], config_file="/a.yaml")
    )  # by an older version of Wenti
    write_run(store, ids[4], '{"run_id": "2026')
    write_run(store, ids[5], "[]")
    write_run(store, ids[6], "[" * 100_000)
    store.run_folder(ids[7]).mkdir()
    (tmp_path / "runs/latest").symlink_to(ids[0])
    for config_file, run_id in (("/a.yaml", ids[1]), ("/b.yaml", ids[2])):
        found = find_previous(store, Path(config_file))
        assert found is not None
        assert found.as_dict() == of_config(run_id, config_file)
    assert find_previous(store, Path("/c.yaml")) is None
    (store.run_folder(ids[1]) / "_SUCCESS").unlink()  # a run that failed
    previous = find_previous(store, Path("/a.yaml"))
    assert previous is not None
    assert previous.run_id == ids[0]


def test_a_store_without_runs_has_no_previous_one(tmp_path: Path) -> None:
    assert find_previous(Store(tmp_path / "new"), Path("/a.yaml")) is None
    assert list(tmp_path.iterdir()) == []
