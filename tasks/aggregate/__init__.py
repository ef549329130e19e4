"""The aggregate stage: shards become the result files of a run.

Open `task.py` first; `joining/` joins the shards and drops questions, `outputs.py` writes files,
`deliver.py` what is only written on request, `metrics.py` computes metrics.json, and `partial.py`
decides what happens if shards are missing.
"""
