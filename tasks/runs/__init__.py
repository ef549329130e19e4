"""The folder of a run: its record, its journal, its results.

Open `run.py` first; `record.py` has the schema of run.json, `find.py` finds runs, `results.py` has
the file names.
"""
