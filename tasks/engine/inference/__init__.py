"""TODO: tasks/engine/inference."""
