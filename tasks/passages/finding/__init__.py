"""What finding the files of `dataset.predict_file` is made of; open `files.py` above first.

`patterns.py` says which names are found, `objects.py` finds files in object stores.
"""
