"""A run's own folder: its record, its journal, its results.

Open `run.py` first; `find.py` finds runs, `results.py` names their files.
"""
