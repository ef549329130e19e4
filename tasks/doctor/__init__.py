"""TODO: tasks/doctor."""
