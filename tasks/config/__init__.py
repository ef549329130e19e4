"""TODO: tasks/config."""
