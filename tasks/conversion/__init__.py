"""The questions of a run as files of other programs, for people who review and train.

Open `convert.py` first; each format has a module of its own.
"""
