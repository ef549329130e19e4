"""Model families: their checkpoints, weights, sizes and layers.

Open `family.py` first: the interface of a family. `unimo.py` implements the only one so far,
`registry.py` lists it, `config.py` and `checkpoint.py` read its checkpoints.
"""
