"""Running an exported model with Paddle Inference.

Open `session.py` first; `predictor.py` configures Paddle, `random_numbers.py` draws for sampling.
"""
