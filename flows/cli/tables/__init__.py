"""What the commands print as tables: of runs and stores, of a comparison, of a benchmark."""
