"""Model families: their checkpoints, weights, sizes and layers.

Open `checkpoint.py` first; `unimo.py` is the one family.
"""
