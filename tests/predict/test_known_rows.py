"""A row is generated once per model and options, wherever it stands, and its texts are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.load import row_keys
from tasks.predict.keys import partitions
from tests.support.in_process import predict, write_passages
from tests.support.passage_rows import BAD, FIRST, NEW, POOL, Rows, check_equal, shuffled

CHANGES: dict[str, tuple[Callable[[Rows], Rows], int]] = {
    "appended": (lambda rows: [*rows, *NEW], 3),
    "inserted": (lambda rows: [*rows[:11], *NEW, *rows[11:]], 3),
    "edited": (lambda rows: [*rows[:20], {**rows[20], "answer": "长江"}, *rows[21:]], 1),
    "shuffled": (shuffled, 0),
    "deleted": (lambda rows: [*rows[:5], *rows[6:]], 0),
    "concatenated": (lambda rows: [*rows, *rows], 0),
    "rejected before": (lambda rows: [BAD, *rows], 0),
    "first row deleted": (lambda rows: rows[1:], 0),
    "half kept, in reverse": (lambda rows: rows[::-2], 0),
    "appended and repeated": (lambda rows: [*rows, *NEW, *NEW], 3),
    "another reference": (lambda rows: [{**row, "question": "何时？"} for row in rows], 0),
    "another id": (lambda rows: [{**row, "id": f"new-{n}"} for n, row in enumerate(rows)], 0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_new_rows_are_generated_after_a_file_has_changed(tmp_path: Path, name: str) -> None:
    change, new = CHANGES[name]
    before = predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    assert before.generated == len(FIRST)
    passages = write_passages(tmp_path / "b.jsonl", change(FIRST))
    found = predict(tmp_path / "store", passages)
    assert found.generated == new
    check_equal(found, predict(tmp_path / "other", passages))
    assert sum(one.rows_reused for one in found.details) == found.table.num_rows - new
    origins = {name for one in found.details for name in one.known}
    assert origins == {before.plan.predictions.fingerprint}


@pytest.mark.parametrize(
    "override",
    [
        "shards.rows_per_shard=5",
        "shards.rows_per_shard=64",
        "predict.batch_size=7",
        "predict.cpu_threads=1",
        "predict.devices=[cpu, cpu]",
    ],
)
def test_no_row_is_generated_again_for_other_shards_or_batches(
    tmp_path: Path, override: str
) -> None:
    passages = write_passages(tmp_path / "a.jsonl", FIRST)
    predict(tmp_path / "store", passages)
    found = predict(tmp_path / "store", passages, override)
    assert (found.generated, found.opened) == (0, 0)
    check_equal(found, predict(tmp_path / "other", passages, override))


@pytest.mark.parametrize(
    "override", ["decode.num_beams=4", "decode.max_dec_len=9", "dataset.template=2"]
)
def test_rows_are_generated_again_if_the_options_of_their_questions_changed(
    tmp_path: Path, override: str
) -> None:
    passages = write_passages(tmp_path / "a.jsonl", FIRST)
    predict(tmp_path / "store", passages)
    assert predict(tmp_path / "store", passages, override).generated == len(FIRST)


def test_of_two_files_that_were_predicted_apart_nothing_is_generated_together(
    tmp_path: Path,
) -> None:
    store, halves = tmp_path / "store", (FIRST[:17], FIRST[17:])
    apart = [
        predict(store, write_passages(tmp_path / f"{number}.jsonl", rows))
        for number, rows in enumerate(halves)
    ]
    passages = write_passages(tmp_path / "both.jsonl", FIRST[17:] + FIRST[:17])
    found = predict(store, passages)
    assert found.generated == 0
    check_equal(found, predict(tmp_path / "other", passages))
    origins: Counter[str] = sum((Counter(one.known) for one in found.details), Counter())
    assert origins == {
        one.plan.predictions.fingerprint: len(rows) for one, rows in zip(apart, halves, strict=True)
    }


def test_several_nights_of_a_growing_file_cost_their_new_rows(tmp_path: Path) -> None:
    for night, size in enumerate((20, 21, 30, 30, 43)):
        rows = shuffled(POOL[:size])
        found = predict(tmp_path / "store", write_passages(tmp_path / f"{night}.jsonl", rows))
        assert found.generated == size - (0, 20, 21, 30, 30)[night]
    check_equal(found, predict(tmp_path / "other", tmp_path / "4.jsonl"))


def test_equal_rows_of_a_file_are_generated_once_in_a_shard_and_in_later_ones(
    tmp_path: Path,
) -> None:
    rows = [FIRST[number % 3] for number in range(20)]
    rows = [{**row, "id": f"r{number}"} for number, row in enumerate(rows)]
    found = predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", rows))
    assert found.generated == 3
    assert [one.copies for one in found.details] == [5, 0, 0]
    assert found.table["id"].to_pylist() == [f"r{number}" for number in range(20)]
    questions = found.table["question"].to_pylist()
    assert questions == [questions[number % 3] for number in range(20)]


def test_rows_of_a_limited_run_are_known_to_the_whole_one(tmp_path: Path) -> None:
    passages = write_passages(tmp_path / "a.jsonl", [BAD, *FIRST])
    tried = predict(tmp_path / "store", passages, "dataset.limit=5")
    assert tried.table["row"].to_pylist() == [1, 2, 3, 4, 5]
    found = predict(tmp_path / "store", passages)
    assert found.generated == len(FIRST) - 5
    check_equal(found, predict(tmp_path / "other", passages))


def test_rows_are_known_in_whatever_files_they_are(tmp_path: Path) -> None:
    predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    folder = tmp_path / "in" / "dt=2026-11-28"
    folder.mkdir(parents=True)
    write_passages(folder / "1.jsonl", FIRST[:7])
    write_passages(folder / "2.jsonl", FIRST[7:])
    found = predict(tmp_path / "store", tmp_path / "in")
    assert found.generated == 0
    check_equal(found, predict(tmp_path / "other", tmp_path / "a.jsonl"))


def test_rows_are_known_though_their_keys_are_too_many_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_keys, "MOST_IN_MEMORY", 4)
    monkeypatch.setattr(partitions, "MOST_IN_MEMORY", 10)
    predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    passages = write_passages(tmp_path / "b.jsonl", shuffled([*FIRST, *NEW, *NEW]))
    found = predict(tmp_path / "store", passages)
    assert found.generated == len(NEW)
    check_equal(found, predict(tmp_path / "other", passages))
    assert not list(tmp_path.rglob(".keys-*"))


def test_rows_can_be_generated_whatever_the_store_knows(tmp_path: Path) -> None:
    predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    passages = write_passages(tmp_path / "b.jsonl", shuffled(FIRST))
    found = predict(tmp_path / "store", passages, "shards.reuse_rows=false")
    assert found.generated == len(FIRST)
    undisturbed = predict(tmp_path / "other", passages)
    assert [one.files for one in found.manifests] == [one.files for one in undisturbed.manifests]


def test_a_row_is_generated_again_if_what_is_known_of_it_is_damaged(tmp_path: Path) -> None:
    before = predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    damaged = before.plan.predictions.folder / before.manifests[2].files[0].name
    content = bytearray(Path(damaged).read_bytes())
    content[len(content) // 2] ^= 1
    Path(damaged).write_bytes(content)
    passages = write_passages(tmp_path / "b.jsonl", shuffled(FIRST))
    found = predict(tmp_path / "store", passages)
    assert found.generated == 8
    check_equal(found, predict(tmp_path / "other", passages))


def test_rows_are_generated_again_if_the_dataset_that_they_were_part_of_is_gone(
    tmp_path: Path,
) -> None:
    before = predict(tmp_path / "store", write_passages(tmp_path / "a.jsonl", FIRST))
    (Path(before.plan.dataset.folder) / "manifest.json").unlink()
    found = predict(tmp_path / "store", write_passages(tmp_path / "b.jsonl", shuffled(FIRST)))
    assert found.generated == len(FIRST)


def test_a_file_that_held_the_rows_of_another_shard_and_was_mended_gives_no_questions(
    tmp_path: Path,
) -> None:
    passages = write_passages(tmp_path / "a.jsonl", FIRST)
    before = predict(tmp_path / "store", passages, "shards.rows_per_shard=10")
    one, other = sorted(before.plan.predictions.folder.glob("shard-*.parquet"))[1:3]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())  # both are found, and their keys are read, in this state
    other.write_bytes(content)
    found = predict(tmp_path / "store", passages, "shards.rows_per_shard=10")
    check_equal(found, before)


def test_a_dataset_that_holds_the_rows_of_another_one_gives_no_keys(tmp_path: Path) -> None:
    folders = [
        predict(tmp_path / "store", write_passages(tmp_path / name, rows)).plan.dataset.folder
        for name, rows in (("a.jsonl", FIRST), ("b.jsonl", shuffled(FIRST)))
    ]
    parts = [next(Path(folder).glob("part-*.parquet")) for folder in folders]
    content = [part.read_bytes() for part in parts]
    for part, other in zip(parts, reversed(content), strict=True):
        part.write_bytes(other)
        for keys in part.parent.glob("keys.*"):
            keys.unlink()
    passages = write_passages(tmp_path / "c.jsonl", FIRST[::-1])
    found = predict(tmp_path / "store", passages)
    check_equal(found, predict(tmp_path / "other", passages))
