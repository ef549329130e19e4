"""The weights of a checkpoint, read as plain arrays without running any code in their files.

Open `read.py` first: which files hold the weights. `pickled.py` reads `.pdparams` with
`interpreter.py`, which runs no code, and `safe_tensors.py` reads `.safetensors`.
"""
