"""Checks of the config and the machine before anything runs.

`preflight.py` is what every run checks in its first second; `diagnosis.py` is all of
`wenti doctor`; `capacity.py` estimates memory and disk space.
"""
