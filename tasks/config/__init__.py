"""The config: every key, reading it, overriding it.

Open `settings.py` first: a class a section, with defaults and limits. `loading.py` reads a file and
gathers its faults.
"""
