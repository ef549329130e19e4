"""TODO: tasks/aggregate."""
