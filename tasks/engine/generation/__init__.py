"""The native decode graph: search strategies in plain Paddle operators.

Open `decode_graph.py` first; a strategy is a `Search` (`search.py`).
"""
