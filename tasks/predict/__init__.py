"""TODO: tasks/predict."""
