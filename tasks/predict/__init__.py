"""The predict stage: shards of questions, made by one worker for each device.

Open `task.py` first; `shards.py` cuts the rows, `retry.py` is the retry policy, `workers/` does the
work.
"""
