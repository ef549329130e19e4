"""Workers: who generates the batches of a shard, and how failures are contained.

Open `base.py` first; `pool.py` hands out shards, `shard_runner.py` makes one, `local.py` and
`worker_process.py` are the two ends of a worker process.
"""
