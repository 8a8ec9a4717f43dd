"""CNTK's native module under its own top-level name, which some scripts import."""

from cntk.cntk_py import *  # noqa: F403
from cntk.cntk_py import __all__ as __all__
from cntk.internal.missing import module_getattr

__getattr__ = module_getattr("_cntk_py")
