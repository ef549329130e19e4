"""The aggregate stage: shards become the result files of a run.

Open `task.py` first; `outputs.py` writes the files, `metrics.py` counts, `partial.py` decides what
happens when shards are missing.
"""
