"""The command line `wenti`. Open `main.py` first: one function a command."""
