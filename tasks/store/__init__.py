"""The store: checkpoints that are whole and verified, or not there.

Open `manifest.py` first for what a checkpoint is, `files.py` for how one is committed,
`layout.py` for where it lies.
"""
