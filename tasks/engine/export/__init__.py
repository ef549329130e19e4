"""TODO: tasks/engine/export."""
