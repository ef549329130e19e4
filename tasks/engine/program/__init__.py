"""Saved Paddle programs (`.pdmodel`, `.pdiparams`) as data: read, rewrite, write.

Open `protobuf.py` first; `half_precision.py` is the one rewriting of a whole graph.
"""
