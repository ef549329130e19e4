"""The load stage: passages become tokenized rows in Parquet parts.

Open `task.py` first; `dataset.py` does the work in one pass, `groups/` on all cores. `encoding.py`
turns a passage into tokens, `helpers.py` does that in several processes, `templates.py` builds the
text that the model was trained on, `parts.py` writes the rows and `part_reader.py` reads ranges of
them back, `row_keys.py` says which rows are equal.
"""
