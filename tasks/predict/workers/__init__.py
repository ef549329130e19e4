"""Workers: what generates the batches of a shard, and how failures are contained.

Open `base.py` first, the interfaces; `pool.py` hands out shards, `shard_runner.py` makes one,
`shard_state.py` and `pieces.py` hold and commit what is done of it, `local.py` and
`worker_process.py` are the two sides of a worker process.
"""
