"""Splitting a batch into parts that run in parallel, and joining the outputs in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Generated, Row, cut_batch, join_generated, pad_rows
from tasks.engine.contract import read_contract
from tasks.engine.export.native import export_native
from tasks.engine.inference.session import LEAST_ROWS, Session, Share, share_threads
from tests.support.engine_reference import Recipe, make_checkpoint

PAD = 0
rows_of_tokens = st.lists(st.integers(1, 9), min_size=2, max_size=7).map(
    lambda ids: Row(ids, [len(ids)] * len(ids), sum(ids))
)
batches = st.lists(rows_of_tokens, min_size=1, max_size=9)


@given(batches, st.integers(1, 9))
def test_the_parts_of_a_batch_hold_each_row_once_without_needless_padding(
    rows: list[Row], parts: int
) -> None:
    parts = min(parts, len(rows))
    cut = cut_batch(pad_rows(rows, PAD), parts)
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
    found = [
        (ids[:length].tolist(), types[:length].tolist(), number)
        for part in cut
        for ids, types, length, number in zip(
            part.input_ids, part.token_type_ids, part.seq_len, part.numbers, strict=True
        )
    ]
    expected = [(list(row.input_ids), list(row.token_type_ids), row.number) for row in rows]
    assert sorted(found) == sorted(expected)
    assert all(part.input_ids.shape == (len(part), part.seq_len.max()) for part in cut)


@given(batches, st.integers(1, 9))
def test_answers_come_back_in_the_order_of_the_batch(rows: list[Row], parts: int) -> None:
    batch = pad_rows(rows, PAD)
    answers = [
        Generated(part.numbers[:, None, None].astype(np.int32), part.seq_len[:, None].astype("f"))
        for part in cut_batch(batch, min(parts, len(rows)))
    ]
    joined = join_generated(answers)
    assert joined.tokens[:, 0, 0].tolist() == [row.number for row in rows]
    assert joined.scores[:, 0].tolist() == [len(row.input_ids) for row in rows]


def share(threads: int, rows: int, workers: int, cores: int) -> Share:
    devices = tuple(f"cpu:{number}" for number in range(workers))
    predict = PredictSettings(devices=devices, cpu_threads=threads, batch_size=rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda _process: set(range(cores)))
        return share_threads(predict)


counts = st.integers(1, 200)


@given(counts, counts, st.integers(1, 9), st.integers(1, 64))
def test_parts_have_enough_rows_and_the_workers_no_more_threads_than_cores(
    threads: int, rows: int, workers: int, cores: int
) -> None:
    shared = share(threads, rows, workers, cores)
    assert shared.at_once * shared.threads <= min(threads, max(1, cores // workers))
    assert 1 <= shared.at_once <= shared.parts
    assert shared.threads >= 1
    assert shared.parts == 1 or rows // shared.parts >= LEAST_ROWS


@given(counts, counts, st.integers(2, 9), st.integers(1, 64))
def test_batches_are_cut_alike_however_many_workers_there_are(
    threads: int, rows: int, workers: int, cores: int
) -> None:
    alone = share(threads, rows, 1, cores)
    assert share(threads, rows, workers, cores).parts == alone.parts
    assert alone.at_once == alone.parts


def test_a_model_gives_the_same_whether_one_thread_runs_it_or_several(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Recipe(0, vocab_size=50, hidden_size=16))
    (tmp_path / "export").mkdir()
    export_native(checkpoint, DecodeSettings(num_beams=2, max_dec_len=6), tmp_path / "export")
    contract = read_contract(tmp_path / "export")
    rng = np.random.default_rng(0)
    rows = [
        Row(rng.integers(5, 50, length).tolist(), [0] * length, number)
        for number, length in enumerate([9, 2, 30, 4, 4, 17, 3, 8, 26, 5, 2, 11])
    ]
    found = []
    for threads in (1, 2, 3):
        predict = PredictSettings(device="cpu", cpu_threads=threads, batch_size=len(rows))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.sched_getaffinity", lambda _process: {0, 1, 2})
            session = Session(tmp_path / "export", contract, predict, "cpu")
        found.append(session.run(pad_rows(rows, PAD)))
    assert len({tuple(sequence) for sequence in found[0].tokens[:, 0].tolist()}) > 3
    for other in found[1:]:
        assert other.tokens.tolist() == found[0].tokens.tolist()
        assert np.allclose(other.scores, found[0].scores, rtol=1e-5)
