"""BLEU of single questions, as sacreBLEU computes it."""

from __future__ import annotations

from collections.abc import Iterable


def sentence_bleu(pairs: Iterable[tuple[str, str]]) -> tuple[list[float], str]:
    """Score (question, reference) pairs one by one, on a scale of 0 to 100.

    BLEU-4 over Chinese characters, of as many n-grams as a question is long enough for
    (`effective_order`); also gives sacreBLEU's signature, which tells how they were computed.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="zh", effective_order=True)
    scores = [float(metric.sentence_score(one, [reference]).score) for one, reference in pairs]
    return scores, str(metric.get_signature())
