"""Model families: their checkpoints, weights, sizes and layers.

Open `family.py` first: what a family has to offer. `unimo.py` is the one there is, `registry.py`
names it, `config.py` and `checkpoint.py` read its checkpoints.
"""
