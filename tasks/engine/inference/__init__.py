"""Running exported models with Paddle Inference.

Open `session.py` first; `predictor.py` configures Paddle, `random_numbers.py` draws for sampling.
"""
