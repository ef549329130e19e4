"""The shards become predictions.parquet, without the questions that `aggregate.keep` drops.

Open `kept.py` first, which writes it; `shards.py` joins the rows of the shards and the rejects, and
`endings.py` says how each question ended.
"""
