"""The part of CNTK's native module that scripts call directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .internal.missing import module_getattr
from .internal.uids import AUTO_SEED as sentinel_value_for_auto_select_random_seed
from .internal.uids import is_random_seed_fixed, reset_random_seed, set_fixed_random_seed

if TYPE_CHECKING:
    from .logging.progress_writer import ProgressWriter as ProgressWriter

_trace_level = 1
_missing = module_getattr("cntk.cntk_py")


def set_computation_network_trace_level(level: int) -> None:
    """Accepted for scripts that set it: this implementation has no per-node trace to switch."""
    global _trace_level
    _trace_level = int(level)


def get_computation_network_trace_level() -> int:
    return _trace_level


def always_allow_setting_default_device() -> None:
    """From now on `try_set_default_device` changes the device also when another one is in use."""
    from .device import always_allow_changes

    always_allow_changes()


def force_deterministic_algorithms() -> None:
    """Let PyTorch take algorithms that give the same numbers in every run, where there are any."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)


__all__ = [
    "always_allow_setting_default_device",
    "force_deterministic_algorithms",
    "get_computation_network_trace_level",
    "is_random_seed_fixed",
    "reset_random_seed",
    "sentinel_value_for_auto_select_random_seed",
    "set_computation_network_trace_level",
    "set_fixed_random_seed",
]


def __getattr__(name: str) -> Any:
    if name == "ProgressWriter":  # late: this module is imported before what writers are made of
        from .logging.progress_writer import ProgressWriter as Writer

        return Writer
    return _missing(name)
