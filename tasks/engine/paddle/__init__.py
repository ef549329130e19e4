"""TODO: tasks/engine/paddle."""
