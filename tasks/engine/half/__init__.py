"""Half precision: the rewriting of a saved graph, and how such a graph runs on a CPU."""
