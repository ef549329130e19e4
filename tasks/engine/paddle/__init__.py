"""Paddle itself: importing it, what is installed, which devices it can use.

Open `runtime.py` first: the only place that imports Paddle and PaddleNLP. `api.py` has what differs
between versions of Paddle.
"""
