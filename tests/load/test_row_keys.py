"""The keys that the load stage makes are those of the parts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.load import row_keys
from tasks.load.dataset import LoadRequest, load_passages
from tasks.load.row_keys import KEYS_FILE, KEYS_MANIFEST, load_row_keys
from tasks.store.manifest import canonical_json
from tasks.store.tables import iterate_rows
from tests.support.load_requests import small_parts, write_rows


@pytest.fixture
def request_with_keys(load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch) -> LoadRequest:
    """A request for 50 rows, some of them unusable, in parts of 11, whose keys are made, too."""
    small_parts(monkeypatch, 11)
    monkeypatch.setattr(row_keys, "ROWS_PER_GROUP", 4)
    assert load_request.predict_file is not None
    write_rows(Path(str(load_request.predict_file)), 50, bad_every=7)
    decided_by = {**load_request.decided_by, "tokenizer": {"vocab.txt": "a" * 64}}
    return replace(load_request, decided_by=decided_by, has_keys=True)


def test_keys_of_the_load_stage_are_those_that_are_made_of_its_parts(
    request_with_keys: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, names = Path(request_with_keys.folder), (KEYS_FILE, KEYS_MANIFEST)
    manifest = load_passages(request_with_keys)
    made = [(folder / name).read_bytes() for name in names]
    with monkeypatch.context() as patch:
        patch.setattr(row_keys, "_hash_parts", None)  # which would make them anew
        found = load_row_keys(folder, manifest)
    for name in names:
        (folder / name).unlink()
    again = load_row_keys(folder, manifest)
    assert [(folder / name).read_bytes() for name in names] == made
    assert np.array_equal(found.rows, again.rows)
    assert np.array_equal(found.keys, again.keys)


def test_a_key_is_the_hash_of_the_tokens_and_of_what_makes_them_text(
    request_with_keys: LoadRequest,
) -> None:
    folder = Path(request_with_keys.folder)
    manifest = load_passages(request_with_keys)
    context = {name: manifest.decided_by[name] for name in ("tokenizer", "template")}
    expected = []
    for path in sorted(folder.glob("part-*.parquet")):
        for row in iterate_rows(path):
            tokens = [np.array(row[name], "<i4") for name in ("input_ids", "token_type_ids")]
            data = canonical_json(context) + b"".join(one.tobytes() for one in tokens)
            digest = hashlib.blake2b(data, digest_size=16).digest()
            halves = [int.from_bytes(half, "little") for half in (digest[:8], digest[8:])]
            expected.append([row["row"], *halves])
    found = load_row_keys(folder, manifest)
    assert [
        [row, *key] for row, key in zip(found.rows, found.keys.tolist(), strict=True)
    ] == expected


def test_keys_are_made_only_if_they_are_wanted(request_with_keys: LoadRequest) -> None:
    load_passages(replace(request_with_keys, has_keys=False))
    assert not (Path(request_with_keys.folder) / KEYS_FILE).exists()
