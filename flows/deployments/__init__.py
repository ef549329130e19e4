"""The deployments of prefect.yaml: reading and checking the file, and serving them.

Open `serving.py` first. `file.py` reads the file and gathers every fault, with the models of
`entries.py` and the checks of `parameters.py`; `schedules.py` decides what a restart changes, and
`permissions.py` what a run may set.
"""
