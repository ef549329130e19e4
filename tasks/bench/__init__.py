"""Benchmarks of the engine: contenders in processes of their own, interleaved, over the same rows.

Like the engine's, these modules import Paddle inside functions, in the process that needs it.
"""
