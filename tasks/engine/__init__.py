"""The model: decode graph, export, inference. It knows nothing of runs, stores or Prefect.

Open `contract.py` first: what an exported model takes and gives. Then `export/native.py` for how
one is made and `inference/session.py` for how one is run.
"""
