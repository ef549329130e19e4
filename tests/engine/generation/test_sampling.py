"""Sampling: the random numbers, the tokens that they select, and PaddleNLP's distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Row, pad_rows
from tasks.engine.export.native import export_native
from tasks.engine.inference.random_numbers import draw_uniforms
from tasks.engine.inference.session import Session
from tasks.engine.paddle.runtime import Untyped, import_paddle, import_paddlenlp
from tests.support.engine_reference import (
    CLS,
    MASK,
    PAD,
    SEP,
    Recipe,
    load_reference,
    logits_of,
    make_checkpoint,
    make_rows,
)

VOCABULARY = 24
LAST = 1 - 2.0**-24  # the largest possible uniform
SAMPLING = DecodeSettings(decoding_strategy="sampling")


def philox(seed: int, number: int) -> Iterator[int]:
    """Philox-4x64-10 from the paper (Salmon et al. 2011), starting at block 1 as in NumPy."""
    block = 0
    while block := block + 1:
        a, b, c, d = block, 0, 0, 0
        low, high = seed, number
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b = (second >> 64) ^ b ^ low, second % 2**64
            c, d = (first >> 64) ^ d ^ high, first % 2**64
            low = (low + 0x9E3779B97F4A7C15) % 2**64
            high = (high + 0xBB67AE8584CAA73B) % 2**64
        yield from (a, b, c, d)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 9),
)
def test_each_row_has_a_stream_of_philox_to_itself(
    seed: int, numbers: list[int], sequences: int, steps: int
) -> None:
    decode = DecodeSettings(
        decoding_strategy="sampling",
        seed=seed,
        num_return_sequences=sequences,
        max_dec_len=steps,
        min_dec_len=0,
    )
    uniforms = draw_uniforms(np.array(numbers), decode)
    assert (uniforms.dtype, uniforms.shape) == (np.float32, (len(numbers), sequences, steps))
    assert uniforms.max() <= LAST
    for number, found in zip(numbers, uniforms, strict=True):
        expected = islice(philox(seed, number), sequences * steps)
        assert found.ravel().tolist() == [(bits >> 40) / 2**24 for bits in expected]


def chosen(weights: list[float], uniform: float) -> int:
    from tasks.engine.generation.sampling import draw

    to_tensor = import_paddle().to_tensor
    drawn = draw(to_tensor([[weights]], "float32"), to_tensor([[[uniform]]], "float32"))
    return int(drawn.item())


UNIFORMS = st.one_of(
    st.sampled_from([0.0, LAST]), st.integers(0, 2**24 - 1).map(lambda bits: bits / 2**24)
)


@given(st.lists(st.integers(0, 2**12), min_size=1, max_size=20).filter(any), UNIFORMS)
def test_the_first_token_whose_sum_exceeds_the_share_is_drawn(
    counts: list[int], uniform: float
) -> None:
    share = Fraction(uniform) * sum(counts)
    expected = next(token for token, total in enumerate(accumulate(counts)) if total > share)
    assert chosen([count / 2**12 for count in counts], uniform) == expected


@given(
    st.lists(st.sampled_from([0.0, 1e-45, 1e-30, 1e-8, 0.1, 1.0]), min_size=1).filter(any), UNIFORMS
)
def test_no_token_of_probability_0_is_ever_drawn(weights: list[float], uniform: float) -> None:
    assert weights[chosen(weights, uniform)] > 0


def test_the_last_tokens_of_a_large_vocabulary_can_be_drawn() -> None:
    weights = np.full(18000, 1 / 18000, np.float32)
    assert chosen(weights.tolist(), LAST) == 17999
    assert chosen([*weights[:9000].tolist(), *[0.0] * 9000], LAST) == 8999


@given(
    rows=st.lists(
        st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.1, 0.3]), min_size=8, max_size=8).filter(any),
        min_size=1,
        max_size=3,
    ),
    topk=st.integers(1, 10),
    topp=st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.99]),
)
def test_topk_and_topp_leave_what_paddlenlp_leaves_equal_ones_included(
    rows: list[list[float]], topk: int, topp: float
) -> None:
    paddle = import_paddle()
    import_paddlenlp()
    from paddlenlp.generation.utils import TopKProcess, TopPProcess

    from tasks.engine.generation.sampling import keep_topk, keep_topp

    theirs = paddle.to_tensor(rows, "float32")
    ours = paddle.unsqueeze(theirs, 0)
    assert keep_topk(ours, topk)[0].tolist() == TopKProcess(theirs, topk, 1).tolist()
    assert keep_topp(ours, topp)[0].tolist() == TopPProcess(theirs, topp, 1).tolist()
    both = TopPProcess(TopKProcess(theirs, topk, 1), topp, 1)
    assert keep_topp(keep_topk(ours, topk), topp)[0].tolist() == both.tolist()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(1, vocab_size=VOCABULARY, hidden_size=16, sharpness=0.3, eos_bias=1.0)
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), recipe)


def open_exported(checkpoint: Path, decode: DecodeSettings, folder: Path) -> Session:
    contract = export_native(checkpoint, decode, folder)
    return Session(folder, contract, PredictSettings(device="cpu", cpu_threads=1), "cpu")


def distribution(model: Untyped, row: Row, body: list[int], decode: DecodeSettings) -> list[float]:
    """Return PaddleNLP's distribution of the token after `body`, from its own processors."""
    from paddlenlp.generation.utils import TopKProcess, TopPProcess

    paddle = import_paddle()
    processors = model.get_logits_processor(
        min_length=len(row.input_ids) + decode.min_dec_len,
        eos_token_id=MASK,
        repetition_penalty=decode.repetition_penalty,
    )
    ids = paddle.to_tensor([[*row.input_ids, *body]])
    logits = processors(ids, logits_of(model, row, body)[-1:])
    kept = paddle.nn.functional.softmax(logits / decode.temperature)
    if decode.topk:
        kept = TopKProcess(kept, decode.topk, 1)
    kept = TopPProcess(kept, decode.topp, 1)
    return (kept / kept.sum())[0].astype("float64").tolist()


def joint_distribution(
    model: Untyped, row: Row, decode: DecodeSettings
) -> dict[tuple[int, int], float]:
    """Return the probability of each possible pair of first and second token."""
    pairs = {}
    for first, likely in enumerate(distribution(model, row, [], decode)):
        if likely == 0:
            continue
        after = distribution(model, row, [first], decode)
        pairs |= {(first, second): likely * p for second, p in enumerate(after) if p > 0}
    return pairs


def p_value(found: Counter[tuple[int, int]], expected: dict[tuple[int, int], float]) -> float:
    """Return the p-value of Pearson's chi-square test; cells below 5 expected are merged."""
    from scipy.stats import chisquare  # takes long to import

    draws = found.total()
    rare = {pair for pair, likely in expected.items() if likely * draws < 5}
    cells = [(found[pair], p * draws) for pair, p in expected.items() if pair not in rare]
    if rare:
        cells.append((sum(found[pair] for pair in rare), sum(expected[p] for p in rare) * draws))
    observed, wanted = np.array(cells).T
    return float(chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue)


@pytest.mark.parametrize(
    "options",
    [
        {"topk": 5},
        {"topk": 0, "topp": 0.8},
        {"topk": 0, "temperature": 0.7},
        {"topk": 12, "topp": 0.6, "temperature": 1.6, "repetition_penalty": 1.3},
    ],
    ids=["topk", "topp", "temperature", "all"],
)
def test_the_drawn_tokens_have_paddlenlps_distribution(
    options: dict[str, float], checkpoint: Path, tmp_path: Path
) -> None:
    decode = DecodeSettings(
        decoding_strategy="sampling",
        max_dec_len=2,
        min_dec_len=2,
        num_return_sequences=4,
        **options,
    )
    session = open_exported(checkpoint, decode, tmp_path)
    words, types = [CLS, 7, 9, 11, 7, SEP, CLS], [0] * 6 + [1]
    rows = [Row(words, types, number) for number in range(3000)]
    tokens = session.run(pad_rows(rows, PAD)).tokens
    found = Counter((first, second) for first, second in tokens.reshape(-1, 2).tolist())
    model = load_reference(checkpoint)
    expected = joint_distribution(model, rows[0], decode)
    assert set(found) <= set(expected)
    assert p_value(found, expected) > 0.001
    plain = SAMPLING.model_copy(update={"topk": 0, "max_dec_len": 2, "min_dec_len": 2})
    assert p_value(found, joint_distribution(model, rows[0], plain)) < 1e-9


def test_of_one_token_sampling_is_greedy_search(checkpoint: Path, tmp_path: Path) -> None:
    rows = make_rows(1, 24, VOCABULARY, longest=40)
    tokens = {}
    for strategy in ("sampling", "greedy_search"):
        (folder := tmp_path / strategy).mkdir()
        decode = DecodeSettings(decoding_strategy=strategy, topk=1, max_dec_len=10)
        session = open_exported(checkpoint, decode, folder)
        tokens[strategy] = session.run(pad_rows(rows, PAD)).tokens.tolist()
    assert tokens["sampling"] == tokens["greedy_search"]
