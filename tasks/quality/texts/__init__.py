"""Texts as arrays: their normal form, and their words as numbers.

`normal_form.py` says which texts count as equal, `words.py` what a word is and what two texts have
in common; `rows.py` and `hashes.py` are the arrays below them.
"""
