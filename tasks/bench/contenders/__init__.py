"""TODO: tasks/bench/contenders."""
