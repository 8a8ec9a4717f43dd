"""Reconcilers: claim, work outside any transaction, guarded apply."""
