"""Paddle: importing it, finding out what is installed and which devices it can use.

Open `runtime.py` first: the only module that imports Paddle and PaddleNLP. `api.py` has what
differs between versions of Paddle.
"""
