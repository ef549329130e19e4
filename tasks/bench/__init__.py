"""Benchmarks of the engine: contenders in separate processes, interleaved, on the same rows.

Open `engine.py` first. Paddle is imported only in the contenders' processes.
"""
