"""TODO: tasks/engine/generation."""
