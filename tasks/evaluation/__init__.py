"""Metrics of questions against their references. Open `evaluate.py` first.

`scores.py` computes BLEU, ROUGE-L and sacreBLEU, `bootstrap.py` confidence intervals of
differences.
"""
