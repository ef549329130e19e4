"""The formats of passages, one a module: `inspect_…` looks at a file, `read_…` yields its rows."""
