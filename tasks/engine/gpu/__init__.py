"""NVIDIA GPUs without Paddle: the driver, visible devices, usage.

Open `driver.py` first.
"""
