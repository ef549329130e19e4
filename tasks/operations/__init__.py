"""Operations on a store: status, verify, rerun, gc, compare; one module per command."""
