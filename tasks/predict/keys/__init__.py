"""Keys of rows beyond memory: divided by their first bits, and found again in a file.

Open `index.py` first; `partitions.py` divides what is too much to be sorted at once.
`seen.py` tells what occurs again.
"""
