"""Shards made on the nodes of a Ray cluster, each by the code of a worker on one machine.

Open `pool.py` first, the run's side; `place.py` is what runs on a node.
"""
