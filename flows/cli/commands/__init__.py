"""One function per command; `flows.cli.main` lists them.

`starting.py` has the commands for a config of one's own, `running.py` those that run it, and
`stored.py` those for what is in a store.
"""
