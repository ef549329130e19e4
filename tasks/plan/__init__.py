"""What a run consists of: its checkpoints and their fingerprints.

Open `plan.py` first; `fingerprints.py` lists what decides each checkpoint, `changes.py` compares
it with the previous run, `model.py` finds the model folder.
"""
