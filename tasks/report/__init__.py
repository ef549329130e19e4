"""The report: one page of HTML that shows how a run went, opened from disk without a network."""
