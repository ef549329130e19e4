"""The generations of Paddle that Wenti runs on, and all that differs between them.

Open `generation.py` first: what each can do and needs. `paddle2.py` and `paddle3.py` have the same
functions; `tasks.engine.paddle.api` chooses one of them.
"""
