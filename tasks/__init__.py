"""The four stages and the packages below them; nothing here shows anything to a person.

Every folder with a `task.py` is a stage, in this order: `export`, `load`, `predict`, `aggregate`.
A package imports only packages of lower layers (`tests/test_floors.py`).
"""
