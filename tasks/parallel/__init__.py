"""Work on many rows that other processes share. Open `helpers.py` first.

`rows.py` has the helpers with the rows of a result.
"""
