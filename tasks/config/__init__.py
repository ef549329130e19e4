"""The config: its keys, reading a file, overriding values.

Open `settings.py` first: one class per section, with defaults and limits. `loading.py` reads a file
and collects its faults.
"""
