"""TODO: tasks/plan."""
