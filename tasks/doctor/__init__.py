"""Checks of the config and the machine before anything runs.

`preflight.py` has the checks that every run makes in its first second; `diagnosis.py` has all
checks of `wenti doctor`; `capacity.py` estimates memory and disk space.
"""
