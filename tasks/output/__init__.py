"""A Parquet data set in a folder outside of the store, for other programs.

Open `folder.py` first: it replaces the folder as a whole, if Wenti has made it. `partitions.py`
divides rows into the files below it.
"""
