"""Our metrics, computed from sums over rows, compared with PaddleNLP's and sacreBLEU's own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU as SacreBLEU  # noqa: N811 there are two BLEU

from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.evaluation.counts import count_pairs
from tasks.evaluation.scores import (
    METRICS,
    score_counts,
    score_each,
    score_pairs,
    sentence_bleu,
)
from tasks.quality.texts.normal_form import normalize
from tests.support.rehearsal import ROOT

Pairs = list[tuple[str, str]]

SAMPLES = ROOT / "data/passages/heldout.jsonl"
CMRC = ROOT.parent / "shared" / "data" / "cmrc2018_trial_qg.jsonl"
TEXT = st.text("长江在哪里？?Aab12. \n\u3000é😀", max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6)


def by_the_libraries(pairs: Pairs) -> dict[str, Any]:
    """Score pairs with the public functions of PaddleNLP and sacreBLEU, all at once."""
    import_paddlenlp()
    from paddlenlp.metrics import BLEU, RougeL
    from paddlenlp.transformers import BasicTokenizer

    tokenize = BasicTokenizer().tokenize
    metrics = {f"bleu_{n}": BLEU(n_size=n) for n in (1, 2, 3, 4)} | {"rouge_l": RougeL()}
    for question, reference in pairs:
        for metric in metrics.values():
            metric.add_inst(tokenize(question), [tokenize(reference)])
    sacrebleu = SacreBLEU(tokenize="zh")
    questions, references = (list(texts) for texts in zip(*pairs, strict=True))
    return {
        **{name: 100 * metric.score() for name, metric in metrics.items()},
        "sacrebleu_zh": sacrebleu.corpus_score(questions, [references]).score,
        "exact_match": 100
        * sum(normalize(one) == normalize(other) for one, other in pairs)
        / len(pairs),
        "sacrebleu_signature": str(sacrebleu.get_signature()),
    }


def disturbed_pairs(path: Path) -> Pairs:
    """Return real questions as references, paired with beginnings of them plus other pieces."""
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    lines = path.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    draw = random.Random(1)  # noqa: S311 nothing secret
    return [
        (text[: draw.randint(0, len(text))] + draw.choice(questions)[: draw.randint(0, 8)], text)
        for text in questions
    ]


@pytest.mark.parametrize("path", [SAMPLES, CMRC], ids=["samples", "CMRC 2018"])
def test_scores_of_real_questions_are_those_of_paddlenlp_and_sacrebleu(path: Path) -> None:
    pairs = disturbed_pairs(path)
    found, expected = score_pairs(pairs), by_the_libraries(pairs)
    assert found.pop("references") == len(pairs)
    assert found.pop("sacrebleu_signature") == expected.pop("sacrebleu_signature")
    assert found == pytest.approx(expected, abs=5.1e-5)  # four digits
    assert 20 < expected["bleu_4"] < 80


@given(PAIRS)
def test_scores_of_any_text_are_those_of_paddlenlp_and_sacrebleu(pairs: Pairs) -> None:
    assume(any(question.strip() for question, _ in pairs))  # else PaddleNLP divides by 0
    found = score_pairs(pairs)
    del found["references"], found["sacrebleu_signature"]
    expected = by_the_libraries(pairs)
    assert found == pytest.approx({name: expected[name] for name in METRICS}, abs=5.1e-5)


@given(PAIRS, st.data())
def test_scores_of_drawn_rows_come_from_the_sums_of_their_counts(
    pairs: Pairs, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1))
    sums = count_pairs(pairs)[drawn].sum(axis=0, keepdims=True)
    expected = score_pairs([pairs[row] for row in drawn])
    found = dict(zip(METRICS, score_counts(sums)[0].tolist(), strict=True))
    assert found == pytest.approx({name: expected[name] for name in METRICS}, abs=5.1e-5)


@given(PAIRS)
def test_bleu_of_a_sentence_is_that_of_sacrebleu(pairs: Pairs) -> None:
    metric = SacreBLEU(tokenize="zh", effective_order=True)
    expected = [metric.sentence_score(question, [text]).score for question, text in pairs]
    of_texts, signature = sentence_bleu(pairs)
    assert of_texts.tolist() == pytest.approx(expected)
    assert score_each(count_pairs(pairs)).tolist() == of_texts.tolist()
    assert signature == str(metric.get_signature())


def test_questions_without_a_word_score_nothing() -> None:
    scores = score_pairs([("", "长江在哪里？"), (" ", "在哪里？")])
    assert [scores[name] for name in METRICS] == [0.0] * len(METRICS)


def test_a_question_that_is_its_reference_scores_everything() -> None:
    scores = score_pairs([("长江在哪里？", "长江在哪里？")])
    assert [scores[name] for name in METRICS] == pytest.approx([100.0] * len(METRICS))


@pytest.mark.parametrize(
    ("question", "reference", "is_exact"),
    [
        ("长江在哪里?", "长江在哪里？", True),
        ("Where is MT. TAI", "where is mt tai?", True),
        ("长江在哪里？", "黄河在哪里？", False),
        ("1,000米高吗", "1000米高吗？", True),
        ("", "？", True),
        ("长江在哪", "长江在哪里", False),
    ],
)
def test_an_exact_match_has_the_words_of_the_reference(
    question: str, reference: str, is_exact: bool
) -> None:
    assert score_pairs([(question, reference)])["exact_match"] == (100 if is_exact else 0)
