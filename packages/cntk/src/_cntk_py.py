"""CNTK's native module under its own top-level name, which some scripts import."""

from typing import Any

from cntk import cntk_py
from cntk.cntk_py import *  # noqa: F403  (the same names)
from cntk.cntk_py import __all__ as __all__


def __getattr__(name: str) -> Any:
    return getattr(cntk_py, name)
