"""Matching the rows of two runs, whose inputs were the same, grew, or were reordered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tasks.operations.pairing import Kind, Pair, Row, pair_rows

IDS = st.none() | st.sampled_from("xyz")
PREDICTED = st.builds(
    Row,
    row=st.just(0),
    id=st.sampled_from("xyz"),
    content=st.integers(0, 2),
    reference=st.none() | st.sampled_from("rs"),
    question=st.sampled_from("pq"),
)
REJECTED = st.builds(Row, row=st.just(0), id=IDS, reason=st.sampled_from(["timeout", "not_json"]))
RUNS = st.lists(PREDICTED | REJECTED, max_size=12).map(lambda rows: number(rows))


def number(rows: Iterable[Row]) -> list[Row]:
    return [replace(row, row=place) for place, row in enumerate(rows)]


def answered(row: Row, question: str | None) -> Row:
    """Return the same row in another run, with another question, or rejected."""
    if question is None:
        return Row(row.row, row.id, reason="timeout")
    return replace(row, question=question)


@given(RUNS, RUNS)
def test_every_row_of_both_runs_is_in_one_pair(a: list[Row], b: list[Row]) -> None:
    pairs = pair_rows(a, b)
    assert sorted(pair.a.row for pair in pairs if pair.a) == list(range(len(a)))
    assert sorted(pair.b.row for pair in pairs if pair.b) == list(range(len(b)))
    assert all(pair.a or pair.b for pair in pairs)
    assert all(pair.a.id == pair.b.id for pair in pairs if pair.a and pair.b)


@given(RUNS, RUNS)
def test_the_pairs_are_in_the_order_of_a_and_the_rest_in_that_of_b(
    a: list[Row], b: list[Row]
) -> None:
    pairs = pair_rows(a, b)
    assert [pair.a for pair in pairs[: len(a)]] == a
    only = [pair.b.row for pair in pairs[len(a) :] if pair.b]
    assert only == sorted(only)


@given(RUNS, RUNS)
def test_the_kinds_of_a_and_b_changed_about_are_those_of_a_and_b(
    a: list[Row], b: list[Row]
) -> None:
    about = {
        Kind.ONLY_IN_A: Kind.ONLY_IN_B,
        Kind.ONLY_IN_B: Kind.ONLY_IN_A,
        Kind.REJECTED_IN_A: Kind.REJECTED_IN_B,
        Kind.REJECTED_IN_B: Kind.REJECTED_IN_A,
    }
    there = Counter(pair.kind for pair in pair_rows(a, b))
    back = Counter(about.get(pair.kind, pair.kind) for pair in pair_rows(b, a))
    assert there == back


@given(st.lists(st.tuples(PREDICTED, *[st.none() | st.sampled_from("pqr")] * 2), max_size=12))
def test_over_one_input_rows_are_paired_by_their_number_whatever_their_ids(
    rows: list[tuple[Row, str | None, str | None]],
) -> None:
    a, b = (number(answered(row[0], row[run]) for row in rows) for run in (1, 2))
    expected = {
        (True, True): Kind.REJECTED_IN_BOTH,
        (True, False): Kind.REJECTED_IN_A,
        (False, True): Kind.REJECTED_IN_B,
    }
    pairs = pair_rows(a, b)
    assert [(pair.a, pair.b) for pair in pairs] == list(zip(a, b, strict=True))
    for (_, in_a, in_b), pair in zip(rows, pairs, strict=True):
        kind = Kind.SAME if in_a == in_b else Kind.CHANGED
        assert pair.kind == expected.get((in_a is None, in_b is None), kind)


@given(st.data())
def test_an_input_that_grew_in_another_order_is_paired_by_ids_that_do_not_repeat(
    data: st.DataObject,
) -> None:
    rows = [replace(row, id=str(n)) for n, row in enumerate(data.draw(st.lists(PREDICTED)))]
    added = [replace(row, id=f"new {n}") for n, row in enumerate(data.draw(st.lists(PREDICTED)))]
    a, b = number(rows), number(data.draw(st.permutations([*rows, *added])))
    kinds = [pair.kind for pair in pair_rows(a, b)]
    assert kinds == [Kind.SAME] * len(rows) + [Kind.ONLY_IN_B] * len(added)


@given(st.data())
def test_an_input_that_grew_in_another_order_is_paired_by_its_texts_where_ids_repeat(
    data: st.DataObject,
) -> None:
    rows = data.draw(st.lists(PREDICTED))
    added = [replace(row, content=9) for row in data.draw(st.lists(PREDICTED))]
    a, b = number(rows), number(data.draw(st.permutations([*rows, *added])))
    for pair in pair_rows(a, b)[: len(a)]:
        assert pair.b is not None
        assert (pair.a and pair.a.content, pair.a and pair.a.reference) == (
            pair.b.content,
            pair.b.reference,
        )


def test_an_id_whose_passage_was_changed_stays_the_same_row_and_is_not_compared() -> None:
    a = Row(0, "x", content=1, question="p")
    b = Row(4, "x", content=2, question="p")
    assert pair_rows([a], [b]) == [Pair(a, b)]
    assert Pair(a, b).kind == Kind.OTHER_INPUT


def test_a_changed_reference_leaves_the_row_as_it_is() -> None:
    a = Row(0, "x", content=1, reference="r", question="p")
    b = replace(a, row=3, reference="s", question="q")
    assert [pair.kind for pair in pair_rows([a], [b])] == [Kind.CHANGED]


def test_rows_that_could_not_be_read_are_not_taken_for_each_other() -> None:
    a, b = Row(0, None, reason="not_json"), Row(1, None, reason="not_json")
    assert [pair.kind for pair in pair_rows([a], [b])] == [Kind.ONLY_IN_A, Kind.ONLY_IN_B]
