"""What `wenti init` writes: a config and a prefect.yaml of one's own. Open `job.py` first.

`sample.py` looks at the data, and `columns.py` guesses which of its columns are passage and answer.
"""
