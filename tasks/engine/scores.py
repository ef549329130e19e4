"""Scores of generated questions against references, as PaddleNLP and sacreBLEU compute them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.engine.runtime import import_paddlenlp

Scores = dict[str, float | str | int]


def score_file(predictions: Path) -> Scores:
    """Score the `question` column of a Parquet file against its `reference` column.

    Rows without a reference do not count. See `score_pairs` for what comes back.
    """
    frame = pd.read_parquet(predictions, columns=["question", "reference"]).dropna()
    return score_pairs(list(frame.itertuples(index=False, name=None)))


def score_pairs(pairs: Sequence[tuple[str, str]]) -> Scores:
    """Score (question, reference) pairs.

    Gives `references` (how many), and on a scale of 0 to 100 `bleu_1` … `bleu_4`
    (`paddlenlp.metrics.BLEU` over `BasicTokenizer` tokens, as the question-generation example
    does), `rouge_l` (`paddlenlp.metrics.RougeL` over the same tokens) and `sacrebleu_zh`, with the
    `sacrebleu_signature` that tells how it was computed.
    """
    import_paddlenlp()
    from paddlenlp.metrics import BLEU, RougeL
    from paddlenlp.transformers import BasicTokenizer

    tokenize = BasicTokenizer().tokenize
    bleus, rouge = {n: BLEU(n_size=n) for n in (1, 2, 3, 4)}, RougeL()
    for question, reference in pairs:
        tokens, references = tokenize(question), [tokenize(reference)]
        for metric in (*bleus.values(), rouge):
            metric.add_inst(tokens, references)
    scores: Scores = {"references": len(pairs)}
    scores |= {f"bleu_{n}": _percent(bleu, bleu.bp_c) for n, bleu in bleus.items()}
    return {**scores, "rouge_l": _percent(rouge, len(pairs)), **_sacrebleu(pairs)}


def _percent(metric: Any, count: int) -> float:  # noqa: ANN401 PaddleNLP's metrics are untyped
    """Give a metric's score in percent; 0 where it would divide by a `count` of 0."""
    return round(100 * float(metric.score()), 4) if count else 0.0


def _sacrebleu(pairs: Sequence[tuple[str, str]]) -> Scores:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="zh")
    questions, references = zip(*pairs, strict=True)
    score = metric.corpus_score(list(questions), [list(references)])
    return {
        "sacrebleu_zh": round(float(score.score), 4),
        "sacrebleu_signature": str(metric.get_signature()),
    }
