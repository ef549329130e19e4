"""What a run would do, before it does it.

`dry_run.py` counts what a run of a config would make and reuse; `trial.py` answers one passage.
"""
