"""The export stage: a PaddleNLP model becomes a static graph in the store.

Open `task.py` first; `build.py` makes the plain export or an optimized one.
"""
