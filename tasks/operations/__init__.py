"""TODO: tasks/operations."""
