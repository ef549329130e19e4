"""The load stage: passages become tokenised rows in Parquet parts.

Open `task.py` first; `dataset.py` is the work, `encoding.py` turns a passage into tokens,
`templates.py` is the text that the model was trained to read.
"""
