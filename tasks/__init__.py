"""The four stages and what they stand on; nothing here shows anything to a person.

Every folder with a `task.py` is a stage, in this order: `export`, `load`, `predict`, `aggregate`.
A room imports rooms of lower floors only (`tests/test_floors.py`).
"""
