"""The config: its keys, reading a file, overriding values.

Open `settings.py` first: one class per section, with defaults and limits. `files.py` reads a file
and those that it extends, `loading.py` finds files by name and collects faults.
"""
