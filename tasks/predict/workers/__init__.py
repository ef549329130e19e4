"""TODO: tasks/predict/workers."""
