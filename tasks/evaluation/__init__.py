"""Metrics of questions against their references. Open `evaluate.py` first.

`counts.py` counts matches row by row, `scores.py` computes BLEU, ROUGE-L and sacreBLEU from their
sums, `bootstrap.py` confidence intervals of differences.
"""
