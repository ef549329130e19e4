"""Prefect flows, the command line, and everything a user sees of a run.

Open `question_generation.py` first: the one flow reads top-down. `cli/` holds the commands,
`server/` finds or starts Prefect's server, `artifacts.py` fills the run's page, and
`outcome.py` ends it.
"""
