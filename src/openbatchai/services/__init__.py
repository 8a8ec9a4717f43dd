"""Use cases, one module per resource; the only callers of the store's unit of work."""
