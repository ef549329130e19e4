"""Numbers of many rows in little memory. Open `counted.py`, the only module."""
