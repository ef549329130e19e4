"""The predict stage: shards of questions, made by one worker for each device.

Open `task.py` first; `shards.py` cuts the rows, `known_rows.py` finds those that need no
generating, `retry.py` is the retry policy, `workers/` does the work.
"""
