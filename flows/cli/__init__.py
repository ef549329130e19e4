"""The command line `wenti`.

Open `main.py` first. `make.py`, `look.py` and `bench.py` hold a function for each command,
`options.py` what they share, and the other modules what they print.
"""
