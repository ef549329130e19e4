"""The four stages and the packages that they use; nothing here prints to a user.

Every folder with a `task.py` is a stage, in this order: `export`, `load`, `predict`, `aggregate`.
A room imports rooms of lower floors only (`tests/test_floors.py`).
"""
