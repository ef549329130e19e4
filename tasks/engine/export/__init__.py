"""From a loaded checkpoint to a static graph in files.

Open `native.py` first; `requirements.py` finds what cannot be exported, `optimize.py` makes the
half-precision and TensorRT variants, `equivalence.py` compares them with the plain export.
"""
