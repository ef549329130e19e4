"""Reading files of passages row by row, with one module per format.

Open `reader.py` first. `records.py` defines what a row must have, `formats.py` detects a file's
format.
"""
