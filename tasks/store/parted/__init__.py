"""Tables of many rows, which are in parts: a folder of Parquet files with a manifest.

`tasks.store.tables` reads them as it reads one file. Open `write.py` first, which makes them;
`places.py` reads some rows of a table of either form, `blocks.py` divides it among processes.
"""
