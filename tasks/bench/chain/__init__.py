"""The whole chain as it is measured: its input, and the processes of a run.

Open `passages.py` for the rows, `processes.py` for what is read of the processes.
"""
