"""The model: decode graph, export, inference. Independent of runs, stores and Prefect.

Open `contract.py` first: the inputs and outputs of an exported model. `export/native.py` makes an
exported model, and `inference/session.py` runs one.
"""
