"""The part of CNTK's native module that scripts call directly."""

from __future__ import annotations

from .internal.missing import module_getattr
from .internal.uids import is_random_seed_fixed, set_fixed_random_seed

_trace_level = 1


def set_computation_network_trace_level(level: int) -> None:
    """Accepted for scripts that set it: this implementation has no per-node trace to switch."""
    global _trace_level
    _trace_level = int(level)


def get_computation_network_trace_level() -> int:
    return _trace_level


__all__ = [
    "get_computation_network_trace_level",
    "is_random_seed_fixed",
    "set_computation_network_trace_level",
    "set_fixed_random_seed",
]

__getattr__ = module_getattr("cntk.cntk_py")
