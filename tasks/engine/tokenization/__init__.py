"""TODO: tasks/engine/tokenization."""
