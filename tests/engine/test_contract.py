"""The contract's file and the padding of batches, without Paddle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import DecodeSettings
from tasks.engine.batch import Row, pad_rows, symbolic_shape_matches
from tasks.engine.contract import (
    CONTRACT_FILE,
    Contract,
    SpecialTokens,
    TensorSpec,
    read_contract,
    write_contract,
)
from tasks.errors import StoreCorruptionError


def make_contract() -> Contract:
    return Contract(
        engine="native",
        engine_version=1,
        paddle_version="2.6.2",
        inputs=(TensorSpec(name="seq_len", variable="seq_len", dtype="int32", shape=("batch",)),),
        outputs=(
            TensorSpec(name="tokens", variable="scale_0", dtype="int32", shape=("batch", 1, 20)),
        ),
        decode=DecodeSettings(length_penalty=0.6),
        special_tokens=SpecialTokens(unk=4, pad=0, bos=1, eos=3),
        vocab_size=400,
        type_vocab_size=4,
        max_positions=513,
        num_sequences=1,
    )


def test_a_contract_reads_back_as_it_was_written(tmp_path: Path) -> None:
    contract = make_contract()
    write_contract(contract, tmp_path)
    assert read_contract(tmp_path) == contract
    assert (tmp_path / CONTRACT_FILE).read_text() == contract.to_json()


def test_a_missing_contract_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptionError, match=r"missing.*export it again"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"format_version": 1', '"format_version": 2', "format_version"),
        ('"engine": "native"', '"engine": "other"', "engine"),
        ('"vocab_size": 400', '"vocab_size": "many"', "vocab_size"),
        ("{", "", "the file"),
    ],
)
def test_a_contract_that_is_none_says_where(tmp_path: Path, old: str, new: str, where: str) -> None:
    text = make_contract().to_json().replace(old, new, 1)
    (tmp_path / CONTRACT_FILE).write_text(text)
    with pytest.raises(StoreCorruptionError, match=f"{where}.*export the model again"):
        read_contract(tmp_path)


ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 17999), st.integers(0, 3)), min_size=2, max_size=40),
    min_size=1,
    max_size=20,
)


@given(rows=ROWS)
def test_padding_keeps_every_row_and_adds_only_padding(rows: list[list[tuple[int, int]]]) -> None:
    batch = pad_rows([Row([i for i, _ in row], [t for _, t in row]) for row in rows], 0)
    assert len(batch) == len(rows)
    assert batch.input_ids.shape == (len(rows), max(len(row) for row in rows))
    assert {array.dtype for array in (batch.input_ids, batch.token_type_ids, batch.seq_len)} == {
        np.dtype(np.int32)
    }
    for index, row in enumerate(rows):
        length = batch.seq_len[index]
        found = zip(batch.input_ids[index], batch.token_type_ids[index], strict=True)
        assert list(found)[:length] == row
        assert not batch.input_ids[index, length:].any()
        assert not batch.token_type_ids[index, length:].any()


@pytest.mark.parametrize("rows", [[], [Row([1], [1])], [Row([1, 2], [0])]])
def test_rows_that_cannot_be_a_batch_are_refused(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="row"):
        pad_rows(rows, 0)


def test_symbolic_shapes() -> None:
    array = np.zeros((3, 1, 20))
    assert symbolic_shape_matches(("batch", 1, "length"), array, 3)
    assert not symbolic_shape_matches(("batch", 1, "length"), array, 4)
    assert not symbolic_shape_matches(("batch", 2, 20), array, 3)
    assert not symbolic_shape_matches(("batch", 1), array, 3)


def test_importing_the_engine_imports_no_paddle() -> None:
    code = (
        "import sys, tasks.engine.export.native, tasks.engine.inference.session,"
        "tasks.engine.contract, tasks.engine.paddle.devices;"
        " sys.exit('paddle' in sys.modules or 'paddlenlp' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
