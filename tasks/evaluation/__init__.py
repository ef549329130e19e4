"""How close questions are to their references. Open `evaluate.py` first.

`scores.py` computes BLEU, ROUGE-L and sacreBLEU, `bootstrap.py` confidence intervals of
differences.
"""
