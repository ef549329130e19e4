"""Files of passages, read row by row: one file a format.

Open `reader.py` first; `records.py` says what a row must have, `formats.py` tells a file's format.
"""
