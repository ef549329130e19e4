"""What the commands print as tables: of runs and stores, a comparison, a benchmark, a diagnosis."""
