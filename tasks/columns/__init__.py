"""The columns of the input that Wenti does not use, kept beside the rows of the results.

Open `store.py` first, which writes them, and `source.py`, which says which columns of a row are
kept. `keeper.py` keeps them while rows are loaded, `chunks.py` turns rows into Arrow columns,
`types.py` finds one type for all values of a column, `values.py` gives them to Python, and
`join.py` puts them beside predictions.
"""
