"""The stages of a run: plain functions over files, each with a thin Prefect task."""
