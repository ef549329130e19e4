"""What an operator asks of a store: status, verify, rerun, gc, compare. One file a command."""
