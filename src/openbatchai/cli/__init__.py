"""The batchai command line."""
