"""PaddleNLP's FasterTransformer as an engine: its graph, its operator, every reason against it."""
