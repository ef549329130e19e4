"""TODO: tasks/engine/models."""
