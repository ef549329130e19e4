"""TODO: tasks/engine/program."""
