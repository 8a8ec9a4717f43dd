"""Help in finding out what a model does.

CNTK's checks per node belong to its own engine; the switches for them are accepted, so that scripts run.  The
profiler is PyTorch's, which shows the steps that a model became.
"""

from __future__ import annotations

from typing import Any

from ..cntk_py import set_computation_network_trace_level
from ..internal.missing import module_getattr, unavailable
from ..logging.graph import depth_first_search
from ..ops.construction import output_variable
from ..ops.functions import CloneMethod, Function, UserFunction, user_function
from . import debug as debug
from . import profiler as profiler
from .debug import debug_model
from .profiler import disable_profiler, enable_profiler, start_profiler, stop_profiler


def dump_signature(root: Any, tag: str | None = None) -> None:
    """Print a function's type."""
    print(f"{tag or 'Function'}: {root}")


def dump_function(root: Any, tag: str | None = None) -> None:
    """Print every function of a graph with its inputs and outputs."""
    print(f"Function {tag or ''} -- {root!s}")
    for function in depth_first_search(root, lambda item: isinstance(item, Function)):
        print(f"  {function.root_function!r}")


def set_checked_mode(enable: bool) -> None:
    """With checks, a computation that yields something that is not a number raises an error in backward."""
    import torch

    torch.autograd.set_detect_anomaly(bool(enable))


def set_node_timing(enable: bool) -> None:
    """Accepted; see `Trainer.print_node_timing`."""


def force_deterministic(seed: int) -> None:
    """Fix the seed of everything random, and let PyTorch use deterministic algorithms."""
    import torch

    from ..internal.uids import set_fixed_random_seed

    set_fixed_random_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def save_as_legacy_model(root_op: Any, filename: str) -> None:
    raise unavailable("cntk.debugging.save_as_legacy_model (models of CNTK version 1)")


__all__ = [
    "CloneMethod", "UserFunction", "debug_model", "disable_profiler", "dump_function", "dump_signature",
    "enable_profiler",
    "force_deterministic", "output_variable", "save_as_legacy_model",
    "set_checked_mode", "set_computation_network_trace_level", "set_node_timing", "start_profiler",
    "stop_profiler", "user_function",
]  # fmt: skip

__getattr__ = module_getattr("cntk.debugging")
