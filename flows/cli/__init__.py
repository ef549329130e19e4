"""TODO: flows/cli."""
