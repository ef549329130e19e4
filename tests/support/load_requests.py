"""Requests of the load stage: passages to be loaded, and the dataset that results."""

import csv
import gzip
import json
import random
import zlib  # noqa: F401 before Paddle, which brings its own
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from tasks.engine.model_files import ModelFiles
from tasks.load import parts
from tasks.load.dataset import LoadRequest
from tasks.load.part_reader import read_dataset_parts
from tasks.load.parts import DatasetDetails
from tasks.store.manifest import Manifest, find_checkpoint
from tasks.store.tables import DATASET

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
WORDS = "的一是在有中国长江河流大最问题答案上下文：，。？0123456789"
FINGERPRINT = "f" * 64


def write_vocabulary(folder: Path) -> None:
    lines = [f"{token}\t{index}\n" for index, token in enumerate([*SPECIAL, *WORDS])]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")


def make_request(folder: Path, model_folder: Path) -> LoadRequest:
    """Return a request to load `passages.jsonl` of a folder into a store in that folder."""
    return LoadRequest(
        folder=folder / "store" / "datasets" / FINGERPRINT,
        fingerprint=FINGERPRINT,
        decided_by={"template": 1, "text": "长江"},
        tokenizer=ModelFiles.of_tokenizer(model_folder),
        predict_file=folder / "passages.jsonl",
        dataset_name="dureader_qg",
        template=1,
        max_seq_len=512,
        max_title_len=30,
        on_bad_row="reject",
    )


def write_rows(path: Path, count: int, bad_every: int = 0) -> list[dict[str, str]]:
    """Write `count` usable rows, with an unusable row before every `bad_every` of them."""
    chance = random.Random(7)  # noqa: S311
    rows, lines = [], []
    for number in range(count):
        if bad_every and number % bad_every == 0:
            lines.append("nonsense" if number else '{"id": "x", "context": "长江", "answer": " "}')
        context = "".join(chance.choices(WORDS, k=chance.randrange(1, 60)))
        rows.append(
            {"id": f"r{number}", "context": context, "answer": "长江", "question": "哪条？"}
        )
        lines.append(json.dumps(rows[-1], ensure_ascii=False))
    path.write_text("\n".join(lines), encoding="utf-8")
    return rows


def write_kind(path: Path, pairs: list[tuple[str, str]]) -> None:
    """Write the same rows in the format of the path; pairs of rows share an id."""
    rows = [
        {"context": context, "answer": answer, "id": str(number // 2), "question": answer}
        for number, (context, answer) in enumerate(pairs)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, write_page_checksum=True)
        return
    if path.suffix == ".arrow":
        feather.write_feather(pa.Table.from_pylist(rows), str(path))
        return
    opener: Any = {".gz": gzip.open, ".zst": open_zstandard}.get(path.suffix, open)
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.suffixes:
            writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
        elif ".json" in path.suffixes:
            json.dump(rows, file, ensure_ascii=False)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)


def open_zstandard(path: Path, _mode: str, **options: str) -> TextIOWrapper:
    return TextIOWrapper(pa.output_stream(str(path), compression="zstd"), **options)


def small_parts(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", rows)


def manifest_in(request: LoadRequest) -> Manifest:
    found = find_checkpoint(request.folder / "manifest.json", request.fingerprint)
    assert found.damage is None
    assert found.manifest is not None
    return found.manifest


def whole(request: LoadRequest) -> pa.Table:
    manifest = manifest_in(request)
    return read_rows(request.folder, manifest, 0, DatasetDetails.of(manifest).rows)


def read_rows(folder: Path, dataset: Manifest, start: int, stop: int) -> pa.Table:
    """Return rows of a dataset with all columns."""
    parts = read_dataset_parts(folder, dataset, start, stop, DATASET.names)
    return pa.concat_tables([DATASET.empty_table(), *parts])
