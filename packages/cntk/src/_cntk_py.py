"""CNTK's native module under its own top-level name, which some scripts import."""

from cntk.cntk_py import (
    get_computation_network_trace_level,
    is_random_seed_fixed,
    set_computation_network_trace_level,
    set_fixed_random_seed,
)
from cntk.internal.missing import module_getattr

__all__ = [
    "get_computation_network_trace_level",
    "is_random_seed_fixed",
    "set_computation_network_trace_level",
    "set_fixed_random_seed",
]

__getattr__ = module_getattr("_cntk_py")
