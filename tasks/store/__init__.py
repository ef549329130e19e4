"""The store: checkpoints that are complete and verified, or absent.

Open `manifest.py` first for what a checkpoint is, then `files.py` for how one is committed and
`layout.py` for where it is stored.
"""
