from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.config.settings import DecodeSettings
from tasks.plan.fingerprints import effective_decode
from tasks.plan.plan import Plan
from tests.support.planned_jobs import plan_job, write_job


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_job(tmp_path)


def changed(before: Plan, after: Plan) -> set[str]:
    stages = ("export", "dataset", "predictions")
    return {
        stage
        for stage in stages
        if getattr(before, stage).fingerprint != getattr(after, stage).fingerprint
    }


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("decode.num_beams=4", {"export", "predictions"}),
        ("decode.length_penalty=1.0", {"export", "predictions"}),
        ("decode.max_dec_len=21", {"export", "predictions"}),
        ("decode.topk=9", set()),
        ("decode.temperature=0.5", set()),
        ("decode.seed=1", set()),
        ("decode.early_stopping=true", {"export", "predictions"}),
        ("decode.repetition_penalty=1.2", {"export", "predictions"}),
        ("dataset.template=2", {"dataset", "predictions"}),
        ("dataset.max_seq_len=100", {"dataset", "predictions"}),
        ("dataset.on_bad_row=fail", set()),
        ("dataset.encoding=utf-8-sig", set()),
        ("dataset.encoding=gb18030", {"dataset", "predictions"}),
        ("dataset.fields={}", set()),
        ("dataset.format=jsonl", set()),
        ("dataset.keep_columns=none", set()),
        ("dataset.keep_columns=[url]", set()),
        ("dataset.split=train", set()),
        ("dataset.limit=1", {"dataset", "predictions"}),
        ("dataset.fields.context=text", {"dataset", "predictions"}),
        ("dataset.fields.id=text", {"dataset", "predictions"}),
        ("shards.rows_per_shard=7", {"predictions"}),
        ("predict.batch_size=4", {"predictions"}),
        ("predict.cpu_threads=1", {"predictions"}),
        ("predict.device=gpu", {"predictions"}),
        ("predict.devices=[cpu, cpu]", set()),
        ("predict.logging_steps=1", set()),
        ("predict.price_per_device_hour=2.5", set()),
        ("store.path=elsewhere", set()),
        ("aggregate.output_path=out.txt", set()),
        ("aggregate.output_folder=out", set()),
        ("aggregate.one_row_per_question=true", set()),
        ("report.language=zh", set()),
        ("quality.max_drift=0.05", set()),
        ("quality.on_breach=fail", set()),
    ],
)
def test_an_option_changes_the_fingerprints_that_it_decides_and_no_other(
    folder: Path, override: str, stages: set[str]
) -> None:
    (folder / "passages.jsonl").write_text('{"context": "a", "answer": "b", "text": "c"}\n')
    assert changed(plan_job(folder), plan_job(folder, override)) == stages


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("model/model_state.pdparams", {"export", "predictions"}),
        ("model/vocab.txt", {"export", "dataset", "predictions"}),
        ("passages.jsonl", {"dataset", "predictions"}),
        ("model/README.md", set()),
    ],
)
def test_one_more_byte_changes_what_is_made_from_the_file(
    folder: Path, name: str, stages: set[str]
) -> None:
    before = plan_job(folder)
    with (folder / name).open("a") as file:
        file.write(" ")
    assert changed(before, plan_job(folder)) == stages


@pytest.mark.parametrize(
    ("columns", "named", "is_same"),
    [
        ("context,answer,id,title", "{context: context, id: id}", True),
        ("source,title,target", "{context: source, answer: title, reference: target}", True),
        ("source,title,context,answer", "{context: source, answer: title}", False),
        ("context,answer,question,target", "{reference: target}", False),
    ],
)
def test_names_that_choose_what_is_read_anyway_change_nothing(
    folder: Path, columns: str, named: str, is_same: bool
) -> None:
    table = folder / "passages.csv"
    table.write_text(f"{columns}\n{','.join('a' for _ in columns.split(','))}\n")
    place = f"dataset.predict_file={table}"
    before = plan_job(folder, place)
    assert (changed(before, plan_job(folder, place, f"dataset.fields={named}")) == set()) == is_same


def test_both_pairs_are_not_read_as_earlier_versions_did(folder: Path) -> None:
    (folder / "passages.jsonl").write_text(
        '{"context": "a", "answer": "b", "source": "c", "title": "d"}'
    )
    identity = plan_job(folder).dataset.decided_by["passages"]
    assert identity["fields"] == {"context": "context", "answer": "answer"}
    named = plan_job(folder, "dataset.fields={context: source, answer: title}")
    assert "fields" in named.dataset.decided_by["passages"]


def test_the_name_of_the_passages_does_not_matter(folder: Path) -> None:
    before = plan_job(folder)
    (folder / "passages.jsonl").rename(folder / "other.jsonl")
    after = plan_job(folder, f"dataset.predict_file={folder / 'other.jsonl'}")
    assert changed(before, after) == set()


def test_one_beam_is_planned_as_greedy_search() -> None:
    one_beam = effective_decode(DecodeSettings(num_beams=1, length_penalty=0.3))
    assert one_beam == effective_decode(DecodeSettings(decoding_strategy="greedy_search"))
    assert one_beam.is_greedy


def test_sampling_is_decided_by_its_own_options_and_not_by_those_of_beams(folder: Path) -> None:
    sampling = "decode.decoding_strategy=sampling"
    before = plan_job(folder, sampling)
    for option in ("topk=9", "topp=0.5", "temperature=0.5", "seed=1", "repetition_penalty=1.2"):
        assert changed(before, plan_job(folder, sampling, f"decode.{option}"))
    for option in ("num_beams=4", "length_penalty=1.0", "diversity_rate=1", "early_stopping=true"):
        assert not changed(before, plan_job(folder, sampling, f"decode.{option}"))


def test_a_plan_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    plan_job(folder, f"store.path={folder / 'store'}")
    assert sorted(folder.rglob("*")) == before


def test_what_is_kept_of_the_input_decides_the_kept_columns_and_nothing_else(folder: Path) -> None:
    def columns(*overrides: str) -> str | None:
        planned = plan_job(folder, *overrides).columns
        return None if planned is None else planned.fingerprint

    assert columns("dataset.keep_columns=none") is None
    assert columns() == columns("dataset.keep_columns=all", "decode.num_beams=4") is not None
    ways = {"[url]", "[day]", "[day, url]"}
    assert len({columns(), *(columns(f"dataset.keep_columns={way}") for way in ways)}) == 4
    found = set()
    for day in ("2026-11-01", "2026-11-02"):  # the same files, with other values of `dt`
        given = folder / f"dt={day}"
        given.mkdir()
        shutil.copy(folder / "passages.jsonl", given)
        found.add(columns(f"dataset.predict_file={given}"))
    assert len(found) == 2
