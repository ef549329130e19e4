"""Prefect's server: finding it, starting one, saying why it cannot be used.

Open `connection.py` first. `hosting.py` and `runner.py` belong to `wenti serve`.
"""
