"""Judging generated questions without a model: one row of quality for each question.

Open `judge.py` first, which makes the columns of a part of the rows; `duplicates.py` compares the
questions of all parts, and `texts/normal_form.py` says which texts count as equal.
"""
