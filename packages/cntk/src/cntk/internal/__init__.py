"""What the public modules share, and the helpers that scripts written against CNTK take from here."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Looked up late: the helpers need modules that need this package.
    for part in ("sanitize", "swig_helper", "utils"):
        module = importlib.import_module(f"{__name__}.{part}")
        if name in vars(module):
            return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
