"""Sections of the config that are long; `tasks/config/settings.py` has the others and all of them.

`section.py` is their base.
"""
