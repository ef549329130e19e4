"""Wenti for notebooks and programs, which import it as `wenti`.

The package `wenti` only exports; start with `calls.py`.
"""
