"""`make gpu-acceptance`: try every engine on a machine with a GPU, compare, measure.

Open `__main__.py` first.
"""
