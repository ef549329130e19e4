"""Prefect's temporary server, for one run that no other server is there for.

Open `server.py` first. `fork.py` is how it starts sooner, `database.py` what it need not look for.
"""
