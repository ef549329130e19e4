"""TODO: tasks/store."""
