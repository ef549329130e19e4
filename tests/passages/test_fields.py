import pytest

from tasks.config.settings import FieldSettings
from tasks.passages.fields import Fields
from tasks.passages.records import Passage, Reason, Reject, parse_record
from tests.support.passage_texts import ROW, reason_of

METADATA = {"source": "baike", "title": "长城"}


def fields(template: int = 1, **names: str) -> Fields:
    return Fields.of(FieldSettings(**names), template)


def parse(record: object, **names: str) -> Passage | Reject:
    return parse_record(record, 0, 1, fields(**names))


def test_named_fields_are_read_and_no_others() -> None:
    row = {**METADATA, **ROW, "passage": "河很长。", "ans": "河", "ref": "哪条河？", "doc": "d1"}
    names = {"context": "passage", "answer": "ans", "reference": "ref", "id": "doc"}
    assert parse({**row, "question": "？", "id": "x"}, **names) == Passage(
        0, 1, "d1", "河很长。", "河", "哪条河？", None, ()
    )
    assert reason_of(parse({**METADATA, **ROW}, **names)) is Reason.MISSING_FIELD


def test_a_field_that_is_not_named_has_its_usual_name() -> None:
    outcome = parse({**METADATA, "answer": "河", "text": "河很长。", "id": 7}, context="text")
    assert outcome == Passage(0, 1, "7", "河很长。", "河", None, None, ())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        (" ", " "),
        (7, "7"),
        (1.0, "1"),
        (1e20, "100000000000000000000"),
        (1.5, "1.5"),
        (-0.0, "0"),
        (["", None, "b", "c"], "b"),
        ([2.0], "2"),
        *((value, None) for value in (None, "", True, {}, [], [[1]], {"a": "b"}, "\udfff")),
        *((value, None) for value in (float("nan"), float("inf"), b"a", [None], [{}, ""])),
    ],
)
def test_an_optional_field_never_costs_a_row(value: object, expected: str | None) -> None:
    outcome = parse({**ROW, "id": value, "question": value})
    assert isinstance(outcome, Passage)
    derived = parse(ROW)
    assert isinstance(derived, Passage)
    assert (outcome.id, outcome.reference) == (expected or derived.id, expected)


def test_the_reference_is_the_question_or_else_the_target() -> None:
    for question, target, expected in (("问", "标", "问"), ("", "标", "标"), (["问"], "标", "问")):
        outcome = parse({**ROW, "question": question, "target": target})
        assert isinstance(outcome, Passage)
        assert outcome.reference == expected


def test_the_columns_of_a_table_may_differ_in_case_and_in_what_cannot_be_seen() -> None:
    columns = ["\ufeffContext ", "ＡＮＳＷＥＲ", "ID", "other"]
    found = fields().in_columns(columns)
    assert found.chosen_in(columns) == {"context": columns[0], "answer": columns[1], "id": "ID"}
    exact = fields().in_columns(["Context", "context", "answer"])
    assert exact.pair_in(["Context", "context", "answer"]) == ("context", "answer")
    assert fields().in_columns(["Context", "CONTEXT", "answer"]).missing_in(["answer"]) == [
        "context"
    ]


@pytest.mark.parametrize(
    ("names", "passed_over"),
    [
        (["context", "answer", "title", "question"], []),
        (["context", "answer", "source", "title"], ["source", "title"]),
        (["source", "title", "target", "question"], ["target"]),
    ],
)
def test_fields_that_could_be_read_instead_are_known(
    names: list[str], passed_over: list[str]
) -> None:
    assert fields().passed_over_in(names) == passed_over
    assert fields(context="context", reference="question").passed_over_in(names) == []


@pytest.mark.parametrize(
    ("names", "named", "deviations"),
    [
        (["context", "answer", "title", "question", "id"], {}, {}),
        (["source", "title", "target", "id"], {}, {}),
        (["context", "answer", "id"], {"context": "context", "id": "id"}, {}),
        (
            ["context", "answer", "source", "title"],
            {},
            {"context": "context", "answer": "answer"},
        ),
        (
            ["context", "answer", "source", "title"],
            {"context": "source", "answer": "title"},
            {},
        ),
        (["context", "answer", "question", "target"], {}, {"reference": "question"}),
        (["passage", "answer"], {"context": "passage"}, {"context": "passage"}),
    ],
)
def test_what_the_columns_do_not_show_is_part_of_the_fingerprint(
    names: list[str], named: dict[str, str], deviations: dict[str, str]
) -> None:
    assert fields(**named).deviations(names, is_table=True) == deviations
    # rows of JSON can have other fields than the first ones
    in_json = {role: name for role, name in named.items() if name in names}
    assert fields(**named).deviations(names, is_table=False) == {**in_json, **deviations}
