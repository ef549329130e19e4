"""A run's own folder: its record, its journal, its results.

Open `run.py` first; `record.py` is the schema of run.json, `find.py` finds runs, `results.py` names
their files.
"""
