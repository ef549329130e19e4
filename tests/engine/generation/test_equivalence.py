"""The exported graph against PaddleNLP's `generate` on the same checkpoint: same tokens and scores.

Nothing is mocked: each case writes a checkpoint, exports it, runs it with a `Session` in
batches of 1, 7 and 16, and calls `generate` on the same rows, padded as in PaddleNLP's example.
For sampling, `generate` uses the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Generated, Row, pad_rows
from tasks.engine.export.native import export_native
from tasks.engine.inference.session import Session
from tasks.engine.paddle.runtime import Untyped
from tests.support.engine_reference import (
    PAD,
    Recipe,
    generate_in_batches,
    joined,
    load_reference,
    make_checkpoint,
    make_rows,
    read_passages,
    score_of,
    tokenized,
)
from tests.support.rehearsal import ROOT

CHECKPOINT = ROOT / "data/checkpoint"
SCORE_TOLERANCE = 1e-4
TIE_TOLERANCE = 1e-5
MANY_ROWS = 96  # for the defaults and greedy search
BATCHES = {16: MANY_ROWS, 7: 14, 1: 4}  # number of rows to run, by batch size
LONG_ROW = 160  # tokens; the time of `generate` grows with their square


@dataclass(frozen=True)
class Case:
    """A comparison; its result must differ from that of the case `unlike`, or it proves nothing."""

    recipe: Recipe
    decode: DecodeSettings
    rows: int = 16
    longest: int = 100  # tokens of a row
    unlike: DecodeSettings | None = None


FOUR_ALL = {"num_beams": 4, "num_return_sequences": 4, "min_dec_len": 0}
OF_ALL_TOKENS = {
    "decoding_strategy": "sampling",
    "topk": 0,
    "num_return_sequences": 3,
    "min_dec_len": 0,
    "seed": 5,
}
CASES = {
    "defaults": Case(Recipe(1), DecodeSettings(), rows=MANY_ROWS),
    "six beams, plain sum": Case(
        Recipe(2, eos_bias=18.0),
        DecodeSettings(num_beams=6, length_penalty=0.0, min_dec_len=0, num_return_sequences=6),
    ),
    "four beams, half penalty": Case(
        Recipe(3, eos_bias=15.0),
        DecodeSettings(num_beams=4, length_penalty=0.6, min_dec_len=0, num_return_sequences=2),
        rows=MANY_ROWS // 2,
    ),
    "diversity": Case(
        Recipe(7, eos_bias=18.0),
        DecodeSettings(num_beams=4, diversity_rate=0.7, num_return_sequences=4),
    ),
    "pre-norm, gelu, late eos": Case(
        Recipe(8, normalize_before=True, hidden_act="gelu"),
        DecodeSettings(num_beams=6, min_dec_len=8, num_return_sequences=3),
    ),
    "one token": Case(
        Recipe(10),
        DecodeSettings(num_beams=4, max_dec_len=1, min_dec_len=0, num_return_sequences=4),
    ),
    "no room for eos": Case(Recipe(11), DecodeSettings(num_beams=2, max_dec_len=6, min_dec_len=6)),
    "ten beams, negative penalty": Case(
        Recipe(14),
        DecodeSettings(num_beams=10, length_penalty=-0.3, num_return_sequences=10),
        rows=8,
    ),
    "early stopping, high penalty": Case(
        Recipe(15, eos_bias=16.0),
        DecodeSettings(early_stopping=True, **FOUR_ALL, length_penalty=2.0),
        unlike=DecodeSettings(**FOUR_ALL, length_penalty=2.0),
    ),
    "diversity without repetition": Case(
        Recipe(16, eos_bias=18.0),
        DecodeSettings(repetition_penalty=1.3, **FOUR_ALL, diversity_rate=0.4),
        unlike=DecodeSettings(**FOUR_ALL, diversity_rate=0.4),
    ),
    "greedy": Case(Recipe(12), DecodeSettings(num_beams=1, min_dec_len=0), rows=MANY_ROWS),
    "greedy by name, late eos": Case(
        Recipe(13, eos_bias=18.0),
        DecodeSettings(decoding_strategy="greedy_search", min_dec_len=8),
    ),
    "greedy without repetition": Case(
        Recipe(18, eos_bias=18.0),
        DecodeSettings(decoding_strategy="greedy_search", repetition_penalty=1.4),
        unlike=DecodeSettings(decoding_strategy="greedy_search"),
    ),
    "sampling": Case(Recipe(19), DecodeSettings(decoding_strategy="sampling")),
    "sampling by mass": Case(
        Recipe(21),
        DecodeSettings(topp=0.8, **OF_ALL_TOKENS),
        unlike=DecodeSettings(**OF_ALL_TOKENS),
    ),
    "sampling with everything": Case(
        Recipe(22, eos_bias=18.0),
        DecodeSettings(
            decoding_strategy="sampling",
            topk=30,
            topp=0.9,
            temperature=1.7,
            repetition_penalty=0.8,
            min_dec_len=8,
            num_return_sequences=2,
        ),
    ),
    **{
        f"64 steps, {beams} beams": Case(
            Recipe(30 + beams, eos_bias=eos_bias),
            DecodeSettings(num_beams=beams, max_dec_len=64, min_dec_len=8),
            rows=8,
            longest=40,
        )
        for beams, eos_bias in ((1, 22.0), (4, 20.0), (6, 18.0), (10, 20.0))
    },
}

Report = Callable[[str, object], None]


@pytest.mark.parametrize("name", CASES)
def test_same_tokens_and_scores_as_generate(
    name: str, tmp_path: Path, record_property: Report
) -> None:
    case = CASES[name]
    checkpoint = make_checkpoint(tmp_path / "checkpoint", case.recipe)
    rows = make_rows(case.recipe.seed, case.rows, case.recipe.vocab_size, case.longest)
    expected = compare(checkpoint, case.decode, rows, tmp_path, record_property)
    if case.decode.max_dec_len >= 12:
        check_variety(expected)
    if case.unlike is not None:
        other = generate_in_batches(load_reference(checkpoint), rows[:16], case.unlike)
        assert (other.tokens != expected.tokens[:16]).any()


@pytest.mark.parametrize(
    "decode",
    [
        DecodeSettings(num_return_sequences=2),
        DecodeSettings(decoding_strategy="greedy_search"),
    ],
    ids=["beams", "greedy"],
)
def test_same_on_the_trained_checkpoint(
    decode: DecodeSettings, tmp_path: Path, record_property: Report
) -> None:
    passages = read_passages(ROOT / "data/passages/heldout.jsonl", 24)
    rows = tokenized(CHECKPOINT, passages)
    short = [row for row in rows if len(row.input_ids) <= LONG_ROW]
    assert len(short) >= 12
    compare(CHECKPOINT, decode, short, tmp_path, record_property)


def compare(
    checkpoint: Path,
    decode: DecodeSettings,
    rows: list[Row],
    tmp_path: Path,
    record_property: Report,
) -> Generated:
    """Check the exported model on rows in batches of several sizes; return the expected output."""
    exported = tmp_path / "exported"
    exported.mkdir()
    contract = export_native(checkpoint, decode, exported)
    session = Session(exported, contract, PredictSettings(device="cpu", cpu_threads=1), "cpu")
    model = load_reference(checkpoint)
    expected = generate_in_batches(model, rows, decode)
    largest, ties = 0.0, 0
    for batch_size, some in BATCHES.items():
        found = run_in_batches(session, rows[:some], batch_size)
        wanted = Generated(expected.tokens[:some], expected.scores[:some])
        largest = max(largest, score_difference(found, wanted))
        ties += proven_ties(model, rows, found, wanted, decode)
    record_property("largest_score_difference", largest)
    record_property("ties", ties)
    print(f"{len(rows)} rows, largest score difference {largest:.1e}, {ties} ties")  # noqa: T201
    assert largest < SCORE_TOLERANCE
    return expected


def run_in_batches(session: Session, rows: list[Row], batch_size: int) -> Generated:
    pad = session.contract.special_tokens.pad
    starts = range(0, len(rows), batch_size)
    return joined(
        [session.run(pad_rows(rows[start : start + batch_size], pad)) for start in starts]
    )


def score_difference(found: Generated, expected: Generated) -> float:
    """Return the largest difference by rank; scores by rank are equal even if sequences tie."""
    return float(np.abs(found.scores - expected.scores).max())


def proven_ties(
    model: Untyped,
    rows: list[Row],
    found: Generated,
    expected: Generated,
    decode: DecodeSettings,
) -> int:
    """Count unexpected sequences; each must have the score of the expected one."""
    differing = np.argwhere((found.tokens != expected.tokens).any(axis=2))
    for row, rank in differing.tolist():
        ours = score_of(model, rows[row], found.tokens[row, rank].tolist(), decode)
        theirs = score_of(model, rows[row], expected.tokens[row, rank].tolist(), decode)
        assert decode.has_beams
        assert abs(ours - theirs) < TIE_TOLERANCE, f"row {row}, rank {rank}: no tie"
    return len(differing)


def check_variety(expected: Generated) -> None:
    """Check that rows end at different steps with different questions: else it proves little."""
    first = expected.tokens[:, 0]
    assert len(set((expected.tokens != PAD).sum(axis=2).ravel().tolist())) >= 4
    assert len({tuple(sequence) for sequence in first.tolist()}) >= len(first) // 4
