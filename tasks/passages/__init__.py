"""TODO: tasks/passages."""
