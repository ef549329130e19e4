"""The model: static decode graph, export, and the Paddle Inference session that runs it.

Paddle and PaddleNLP are imported here only, inside functions, by the process that needs them.
"""
