import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.passages.fields import Fields
from tasks.passages.records import Passage, Reason, Reject, parse_record
from tests.support.passage_texts import JSON, ROW, TEXT, VISIBLE, reason_of


def parse(record: object, template: int = 1) -> Passage | Reject:
    return parse_record(record, 0, 1, Fields.of(None, template))


def test_dureader_fields_become_a_passage() -> None:
    record = {**ROW, "question": "中国最长的河流是哪条？", "id": "a-1"}
    assert parse(record) == Passage(
        row=0,
        line=1,
        id="a-1",
        context=ROW["context"],
        answer="长江",
        reference="中国最长的河流是哪条？",
        prompt_common=None,
        prompt_domain=(),
    )


def test_fields_of_named_data_sets_become_a_passage() -> None:
    outcome = parse({"source": "长江很长。", "title": "长江", "target": "哪条江很长？", "id": 7})
    assert outcome == Passage(0, 1, "7", "长江很长。", "长江", "哪条江很长？", None, ())


def test_source_and_title_are_read_only_where_neither_context_nor_answer_is_there() -> None:
    metadata = {"source": "baike", "title": "长城"}
    both = parse({**metadata, **ROW})
    assert isinstance(both, Passage)
    assert (both.context, both.answer) == (ROW["context"], ROW["answer"])
    for part in ROW:
        rest = {name: text for name, text in ROW.items() if name != part}
        assert reason_of(parse({**metadata, **rest})) is Reason.MISSING_FIELD


@pytest.mark.parametrize("reference", [{}, {"question": None}, {"question": ""}, {"target": ""}])
def test_reference_may_be_missing(reference: dict[str, Any]) -> None:
    outcome = parse({**ROW, **reference})
    assert isinstance(outcome, Passage)
    assert outcome.reference is None


@pytest.mark.parametrize("absent", [{}, {"id": None}, {"id": ""}])
def test_id_is_derived_from_the_content_where_there_is_none(absent: dict[str, Any]) -> None:
    # the text that is hashed, written out by hand
    text = '{"answer":"长江","context":"长江是中国最长的河流。"}'
    outcome = parse({**ROW, "question": "不算在内", **absent})
    assert isinstance(outcome, Passage)
    assert outcome.id == "sha256-" + hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("record", "reason", "shown"),
    [
        (None, Reason.NOT_AN_OBJECT, "None"),
        ([ROW], Reason.NOT_AN_OBJECT, "长江"),
        ({"context": "长江"}, Reason.MISSING_FIELD, "`answer`"),
        ({**ROW, "context": None}, Reason.MISSING_FIELD, "`context`"),
        ({"source": "长江"}, Reason.MISSING_FIELD, "`title`"),
        ({**ROW, "context": float("nan")}, Reason.MISSING_FIELD, "`context`"),
        ({**ROW, "answer": " \t\u3000\n"}, Reason.EMPTY_FIELD, "`answer`"),
        ({**ROW, "context": "\u200b\x00\ufffd"}, Reason.EMPTY_FIELD, "`context`"),
        ({**ROW, "answer": 3}, Reason.WRONG_TYPE, "is not a string: 3; write it as text"),
        ({**ROW, "context": "长\ud800江"}, Reason.INVALID_TEXT, "`context`"),
    ],
)
def test_unusable_record_is_rejected_with_its_reason(
    record: object, reason: Reason, shown: str
) -> None:
    outcome = parse(record)
    assert isinstance(outcome, Reject)
    assert outcome.reason is reason
    assert shown in outcome.detail
    assert outcome.detail.encode()


def test_reject_keeps_the_id_and_a_short_excerpt_only() -> None:
    outcome = parse({"id": 12, "context": "长" * 5000, "answer": None})
    assert isinstance(outcome, Reject)
    assert outcome.id == "12"
    assert len(outcome.detail) < 200


def test_prompt_fields_are_needed_for_template_4_only() -> None:
    prompts = {"prompt_common": "问题生成", "prompt_domain": ["新闻", "百科", "体育"]}
    full = parse({**ROW, **prompts}, template=4)
    assert isinstance(full, Passage)
    assert (full.prompt_common, full.prompt_domain) == ("问题生成", ("新闻", "百科", "体育"))
    assert isinstance(parse(ROW, template=3), Passage)
    assert reason_of(parse(ROW, 4)) is Reason.MISSING_FIELD
    assert reason_of(parse({**ROW, "prompt_common": "问"}, 4)) is Reason.MISSING_FIELD
    assert reason_of(parse({**ROW, **prompts, "prompt_domain": "新闻"}, 4)) is Reason.WRONG_TYPE
    assert reason_of(parse({**ROW, **prompts, "prompt_domain": [1]}, 4)) is Reason.WRONG_TYPE


@given(context=VISIBLE, answer=VISIBLE, question=TEXT, identity=st.text("ab中", min_size=1))
def test_text_is_kept_exactly(context: str, answer: str, question: str, identity: str) -> None:
    outcome = parse({"context": context, "answer": answer, "question": question, "id": identity})
    assert outcome == Passage(0, 1, identity, context, answer, question or None, None, ())


@given(JSON, st.sampled_from([0, 1, 4]))
def test_any_value_is_a_passage_or_a_reject(record: object, template: int) -> None:
    outcome = parse_record(record, 3, 9, Fields.of(None, template))
    assert (outcome.row, outcome.line) == (3, 9)
    assert json.dumps(vars(outcome), ensure_ascii=False).encode()
    if isinstance(outcome, Reject):  # no control sequences for a terminal or a log
        assert outcome.detail.isprintable()
