"""The shards become predictions.parquet, without the questions that `aggregate.keep` drops.

Open `kept.py` first, which writes it. `parts.py` divides the rows among processes, `shards.py`
joins those of the shards and the rejects, and `endings.py` says how each question ended.
"""
