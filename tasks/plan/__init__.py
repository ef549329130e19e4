"""What a run consists of: its checkpoints and their fingerprints.

Open `plan.py` first; `fingerprints.py` says what decides each checkpoint, `changes.py` what changed
since the last run, `model.py` finds the model's folder.
"""
