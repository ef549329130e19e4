"""Reading files of passages row by row, with one module per format.

Open `reader.py` first. `inspection.py` finds out how a file is read, or why it cannot be;
`fields.py` says which fields are read, `records.py` what a row must have.
"""
