"""Saved Paddle programs (`.pdmodel`, `.pdiparams`) as data: read, rewrite, write.

Open `protobuf.py` first; `half_precision.py` converts a whole graph.
"""
