"""What `wenti init` writes: a new config and a prefect.yaml. Open `job.py` first.

`sample.py` looks at the data, and `columns.py` guesses which of its columns are passage and answer.
"""
