"""TODO: flows/server."""
