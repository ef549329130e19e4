"""The command line `wenti`.

Open `main.py` first. `make.py`, `look.py` and `bench.py` have one function per command,
`options.py` has what they share, and the other modules print the output.
"""
