"""TODO: tasks/load."""
