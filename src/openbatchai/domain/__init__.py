"""Pure decisions: no I/O, no async, no clock, no pydantic."""
