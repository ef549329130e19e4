"""The flow, its deployments and the command line."""
