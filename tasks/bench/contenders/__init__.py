"""The programs that `wenti bench` measures, each in a process of its own.

Open `contender.py` first; `lines.py` is their side of the protocol.
"""
