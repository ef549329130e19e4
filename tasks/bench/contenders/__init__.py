"""The programs that `wenti bench` measures, each in its own process.

Open `contender.py` first; `lines.py` is the contenders' side of the protocol.
"""
