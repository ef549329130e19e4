"""Predicting the rows that are loaded already, while others still are.

Open `work.py` first. What is made early is pieces (`tasks.predict.workers.pieces`) in a folder that
the rows' tokens decide, so it does not matter what becomes of the dataset; a shard with the same
rows takes them over, as it takes over its own pieces.
"""
