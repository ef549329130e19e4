"""Reading files of passages row by row.

Open `reader.py` first. `files.py` finds the files, `inspection.py` finds out how one is read, or
why it cannot be; `input.py` has all of them. `fields.py` says which fields are read, `records.py`
what a row must have. `formats/` has one module per format.
"""
