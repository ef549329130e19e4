"""NVIDIA's GPUs: which there are, what Paddle has for them, their libraries, memory and use."""
