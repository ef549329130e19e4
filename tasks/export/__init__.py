"""TODO: tasks/export."""
