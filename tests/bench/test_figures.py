"""The figures of a benchmark, computed from given measurements."""

from __future__ import annotations

import ast
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bench.contenders import peer
from tasks.bench.engine import Measurements, check_steps, summarise
from tasks.bench.operations import count_operations
from tasks.bench.options import BenchOptions, check_options
from tasks.bench.scan import scan_points
from tasks.bench.workload import (
    example_batches,
    make_rows,
    native_batches,
    padding_share,
    row_lengths,
)
from tasks.engine.models.config import ModelSize
from tasks.errors import BadOutputError, UnusableError

SMALL = BenchOptions(rows=4, generate_rows=2, length=20, layers=1, hidden=8, vocab=20, threads=1)


class CountedDecoder:
    """A Transformer that multiplies matrices, one query at a time, and counts the operations."""

    def __init__(self, size: ModelSize) -> None:
        self.size = size
        self.operations = 0
        self.keys: list[list[np.ndarray]] = [[] for _ in range(size.layers)]

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.operations += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b

    def project(self, token: np.ndarray, *widths: int) -> np.ndarray:
        for width in widths:
            token = self.multiply(token, np.full((token.shape[1], width), 0.1))
        return token

    def attend(self, token: np.ndarray, seen: list[np.ndarray]) -> np.ndarray:
        keys = np.concatenate(seen)
        return self.multiply(self.multiply(token, keys.T), keys)

    def rest_of_layer(self, token: np.ndarray, seen: list[np.ndarray]) -> np.ndarray:
        hidden = self.size.hidden
        context = self.attend(self.project(token, hidden), seen)  # the query, then attention
        return self.project(context, hidden, self.size.intermediate, hidden)

    def key_value(self, token: np.ndarray) -> np.ndarray:
        self.project(token, self.size.hidden)  # the value
        return self.project(token, self.size.hidden)

    def logits(self, token: np.ndarray) -> None:
        self.project(token, self.size.hidden, self.size.vocabulary)

    def encode(self, length: int) -> None:
        tokens = [np.ones((1, self.size.hidden))] * length
        for layer in range(self.size.layers):
            is_last = layer == self.size.layers - 1
            keys = self.keys[layer] = [self.key_value(token) for token in tokens]
            source = [] if is_last else tokens[:-1]
            encoded = [self.rest_of_layer(token, keys[:-1]) for token in source]
            tokens = [*encoded, self.rest_of_layer(tokens[-1], keys)]
        self.logits(tokens[-1])

    def step(self, generated: list[list[np.ndarray]]) -> None:
        token = np.ones((1, self.size.hidden))
        for layer, keys in enumerate(self.keys):
            generated[layer].append(self.key_value(token))
            token = self.rest_of_layer(token, [*keys, *generated[layer]])
        self.logits(token)


def counted(length: int, beams: int, steps: int, size: ModelSize) -> int:
    decoder = CountedDecoder(size)
    decoder.encode(length)
    for _beam in range(beams):
        generated: list[list[np.ndarray]] = [[] for _ in range(size.layers)]
        for _step in range(1, steps):
            decoder.step(generated)
    return decoder.operations


@given(
    lengths=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    beams=st.integers(1, 3),
    steps=st.integers(1, 4),
    size=st.builds(ModelSize, *(st.integers(1, 5) for _ in fields(ModelSize))),
)
def test_operations_are_those_that_a_decoder_does(
    lengths: list[int], beams: int, steps: int, size: ModelSize
) -> None:
    expected = sum(counted(length, beams, steps, size) for length in lengths)
    assert count_operations(lengths, beams, steps, size) == expected


def test_a_row_of_the_base_model_needs_69_gflop() -> None:
    assert count_operations([270], 6, 20, BenchOptions().size) / 1e9 == pytest.approx(69, rel=0.01)


def test_even_rows_are_all_of_one_length() -> None:
    assert row_lengths(replace(SMALL, rows=3)) == [20, 20, 20]


@given(rows=st.integers(8, 200))
def test_uneven_rows_are_as_long_as_stated(rows: int) -> None:
    lengths = row_lengths(replace(SMALL, rows=rows, length=270, uneven=True))
    assert len(lengths) == rows
    assert min(lengths) >= 32
    assert max(lengths) <= 512
    assert np.mean(lengths) == pytest.approx(265, abs=10)
    assert lengths != sorted(lengths)


def test_rows_are_the_same_every_time_and_end_as_the_tokenizer_ends_them() -> None:
    rows = make_rows([4, 9], 50)
    assert rows == make_rows([4, 9], 50)
    assert [len(row) for row in rows] == [4, 9]
    assert all((row[0], row[-2], row[-1]) == (1, 2, 1) for row in rows)
    assert all(5 <= word < 50 for row in rows for word in row[1:-2])


def test_padding_is_counted_by_the_batches_of_each() -> None:
    lengths = [10, 2, 10, 2]
    assert padding_share(lengths, [[0, 2], [1, 3]]) == 0
    assert padding_share(lengths, [[0, 1], [2, 3]]) == pytest.approx(16 / 40)
    uneven = replace(SMALL, rows=64, length=270, uneven=True)
    lengths = row_lengths(uneven)
    ours, theirs = native_batches(lengths, uneven), example_batches(64)
    assert sorted(row for batch in ours for row in batch) == list(range(64))
    assert [row for batch in theirs for row in batch] == list(range(64))
    assert {len(batch) for batch in theirs} == {8}
    assert padding_share(lengths, ours) < padding_share(lengths, theirs)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rows": 0, "generate_rows": 0}, "--rows 0"),
        ({"generate_rows": 5}, "--generate-rows 5"),
        ({"uneven": True}, "--generate-rows 2"),
        ({"threads": 4096}, "--threads 4096"),
        ({"hidden": 100}, "--hidden 100"),
        ({"vocab": 11}, "--vocab 11"),
        ({"length": 3}, "--length 3"),
        ({"only": ("example",)}, "--only example"),
        ({"only": ("native", "peers")}, "--only peers"),
    ],
)
def test_options_that_cannot_be_measured_are_refused_in_a_line(
    wrong: dict[str, Any], words: str
) -> None:
    check_options(SMALL)
    with pytest.raises(UnusableError, match=f"^{words} cannot be measured; allowed: .+$"):
        check_options(replace(SMALL, **wrong))


def measured(native: list[float], example: list[float], rates: list[float]) -> Measurements:
    tokens = [[7] * SMALL.steps] * SMALL.rows
    rounds = [
        {
            "native": {
                "seconds": ours,
                "user_seconds": ours,
                "system_seconds": ours,
                "peak_rss_mb": 10 * ours,
                "tokens": tokens,
            },
            "example": {"seconds": theirs, "tokens": [tokens[0], [8] * SMALL.steps]},
            "products": {"gflops": rate},
        }
        for ours, theirs, rate in zip(native, example, rates, strict=True)
    ]
    return Measurements({"native": {"loaded_rss_mb": 5.0}}, rounds)


def test_figures_are_medians_of_the_rounds_and_the_best_rate() -> None:
    result = summarise(SMALL, [20] * 4, measured([4, 8, 5], [10, 100, 25], [1e-3, 3e-3, 2e-3]))
    assert result["seconds_per_row"] == 5 / 4
    assert result["generate_seconds_per_row"] == 25 / 2
    # 4 rows against 2: 2/10, 4/100 and 2.5/25
    assert result["ratio_to_generate"] == pytest.approx(0.1)
    assert result["ratio_to_generate_tuned"] is None
    operations = count_operations([20] * 4, 6, 20, SMALL.size)
    assert result["floor_share"] == pytest.approx(operations / 3e6 / 5, abs=1e-4)
    assert (result["rows_per_second"], result["tokens_per_second"]) == (4 / 5, 16)
    assert (result["loaded_rss_mb"], result["peak_rss_mb"]) == (5, 80)
    assert result["same_questions"] == 0.5


def test_another_environment_is_compared_in_cpu_seconds() -> None:
    alone = measured([4, 8, 5], [1, 1, 1], [1e-3, 3e-3, 2e-3])
    answers = [
        # The CPU seconds of the native engine are 8, 16 and 10.
        {"seconds": 1, "user_seconds": user, "system_seconds": 1, "tokens": [[7] * SMALL.steps] * 4}
        for user in (9, 19, 24)
    ]
    rounds = [{**ours, "other": one} for ours, one in zip(alone.rounds, answers, strict=True)]
    result = summarise(replace(SMALL, threads=2), [20] * 4, replace(alone, rounds=rounds))
    assert (result["cpu_seconds_per_row"], result["other_cpu_seconds_per_row"]) == (10 / 4, 20 / 4)
    assert result["cpu_ratio_to_other"] == 0.8  # of 8/10, 16/20 and 10/25
    floor = 2 * count_operations([20] * 4, 6, 20, SMALL.size) / 3e6
    assert result["floor_cpu_share"] == pytest.approx(floor / 10, abs=1e-4)
    assert result["other_floor_cpu_share"] == pytest.approx(floor / 20, abs=1e-4)
    assert result["other_same_questions"] == 1
    assert summarise(SMALL, [20] * 4, alone)["cpu_ratio_to_other"] is None


def test_questions_that_end_early_make_no_figures() -> None:
    good = measured([1], [1], [1])
    check_steps(good, SMALL.steps)
    with pytest.raises(BadOutputError, match="20"):
        check_steps(good, SMALL.steps + 1)


def test_a_scan_changes_one_thing_at_a_time() -> None:
    base = BenchOptions(threads=1)
    points = list(scan_points(base))
    assert points[0] == base
    changed = [
        {key for key, value in point.as_dict().items() if value != base.as_dict()[key]}
        for point in points[1:]
    ]
    assert changed == [{"beams"}] * 3 + [{"steps"}] + [{"length"}] * 3 + [
        {"batch_size", "rows"},
        {"rows"},
    ]
    with pytest.raises(UnusableError, match="one length"):
        list(scan_points(replace(base, uneven=True)))


def test_the_peers_script_needs_nothing_but_its_own_environment() -> None:
    tree = ast.parse(Path(peer.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
