"""The detached process of one task; standard library only."""
