"""TODO: tasks/evaluation."""
