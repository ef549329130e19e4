"""NVIDIA GPUs without Paddle: the driver, what is visible, how busy it is.

Open `driver.py` first.
"""
