"""Lines that CNTK's native side writes: straight to file descriptor 2, whatever a script did to
sys.stderr."""

from __future__ import annotations

import os


def write_stderr(text: str) -> None:
    os.write(2, text.encode())
