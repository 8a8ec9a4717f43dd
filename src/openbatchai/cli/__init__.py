"""The batchai command line."""

import sys


def main() -> None:
    """Entry point of `batchai`."""
    from .commands import BatchAICLI

    sys.exit(BatchAICLI.create().invoke(sys.argv[1:]))
