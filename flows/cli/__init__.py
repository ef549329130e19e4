"""The command line `wenti`. Open `main.py` first.

`commands/` and `bench.py` have one function per command; `tables/` prints their results,
`options.py` has the options that they share, `places.py` what these refer to.
"""
