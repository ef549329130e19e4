"""The gate between nights: whether the questions of a run are suspect.

Open `check.py` first. `limits.py` has the limits of the config and what is beyond them, `drift.py`
the comparison with an earlier run; both are pure.
"""
