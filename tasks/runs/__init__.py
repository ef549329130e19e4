"""TODO: tasks/runs."""
