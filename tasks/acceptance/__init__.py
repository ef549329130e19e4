"""`make gpu-acceptance`: run every engine on a machine with a GPU, compare results, measure speed.

Open `__main__.py` first, then `run.py`.
"""
