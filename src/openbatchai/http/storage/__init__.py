"""The storage services over HTTP: what both share, and one module per group of calls."""
