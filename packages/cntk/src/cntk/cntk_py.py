"""The part of CNTK's native module that scripts call directly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import device as _device
from . import variables as _variables
from .axis import Axis
from .core import NDArrayView, Value
from .device import DeviceDescriptor
from .internal import proto as _proto
from .internal.missing import module_getattr
from .internal.uids import AUTO_SEED as sentinel_value_for_auto_select_random_seed
from .internal.uids import is_random_seed_fixed, reset_random_seed, set_fixed_random_seed
from .variables import Constant, Parameter, Variable

if TYPE_CHECKING:
    from .logging.progress_writer import ProgressWriter as ProgressWriter

DataType_Unknown, DataType_Float, DataType_Double, DataType_UChar, DataType_Float16 = range(5)
DataType_Int8, DataType_Int16 = 5, 6
DeviceKind_CPU, DeviceKind_GPU = 0, 1
StorageFormat_Dense, StorageFormat_SparseCSC = 0, 1
VariableKind_Input, VariableKind_Output, VariableKind_Parameter = 0, 1, 2
VariableKind_Constant, VariableKind_Placeholder = 3, 4
PoolingType_Max, PoolingType_Average = 0, 1
InferredDimension, FreeDimension = _variables.INFERRED, _variables.FREE
sentinel_value_for_infer_param_init_rank = 2147483647

_trace_level = 1
_deterministic = False
_missing = module_getattr("cntk.cntk_py")


def set_computation_network_trace_level(level: int) -> None:
    """Accepted for scripts that set it: this implementation has no per-node trace to switch."""
    global _trace_level
    _trace_level = int(level)


def get_computation_network_trace_level() -> int:
    return _trace_level


def always_allow_setting_default_device() -> None:
    """From now on the default device may be chosen again after it was used."""
    _device.allow_changes()


def allow_renaming_functions() -> None:
    """From now on a function or variable that has a name may get another one."""
    _variables.allow_renaming()


def force_deterministic_algorithms() -> None:
    """Ask for algorithms that give the same numbers every time."""
    import torch

    global _deterministic
    _deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)


def should_force_deterministic_algorithms() -> bool:
    return _deterministic


def is_native_user_function_registered(op_id: str) -> bool:
    """Whether native code computes an operation of that name: there is none."""
    return False


def universal_learner(parameters: Sequence[Parameter], gradients: Sequence[Any], update: Any) -> Any:
    """A learner that runs `update`, a function of assignments that reads the constants `gradients`."""
    from .learners.user import UniversalLearner

    constants = [_constant(g) for g in gradients]
    return UniversalLearner(list(parameters), constants, update.root_function.composite())


def _constant(value: Any) -> Constant:
    found = value if isinstance(value, Variable) else value.output
    return found.as_constant()


class Dictionary(dict[str, Any]):
    """What a model or checkpoint file holds."""

    @staticmethod
    def load(filename: str | os.PathLike[str]) -> Dictionary:
        """Read a file in CNTK's format.  Raises RuntimeError for a missing or damaged file."""
        if not Path(filename).is_file():
            raise RuntimeError(f"Cannot open file '{filename}' for reading.")
        try:
            return Dictionary(_proto.load(Path(filename).read_bytes()))
        except _proto.ParseError as error:
            raise RuntimeError("Failed to parse Dictionary from the input stream.") from error

    def save(self, filename: str | os.PathLike[str]) -> None:
        Path(filename).write_bytes(_proto.dump(dict(self)))


__all__ = [
    "Axis",
    "Constant",
    "DataType_Double",
    "DataType_Float",
    "DataType_Float16",
    "DataType_Int8",
    "DataType_Int16",
    "DataType_UChar",
    "DataType_Unknown",
    "DeviceDescriptor",
    "DeviceKind_CPU",
    "DeviceKind_GPU",
    "Dictionary",
    "FreeDimension",
    "InferredDimension",
    "NDArrayView",
    "Parameter",
    "PoolingType_Average",
    "PoolingType_Max",
    "StorageFormat_Dense",
    "StorageFormat_SparseCSC",
    "Value",
    "Variable",
    "VariableKind_Constant",
    "VariableKind_Input",
    "VariableKind_Output",
    "VariableKind_Parameter",
    "VariableKind_Placeholder",
    "allow_renaming_functions",
    "always_allow_setting_default_device",
    "force_deterministic_algorithms",
    "get_computation_network_trace_level",
    "is_native_user_function_registered",
    "is_random_seed_fixed",
    "reset_random_seed",
    "sentinel_value_for_auto_select_random_seed",
    "sentinel_value_for_infer_param_init_rank",
    "set_computation_network_trace_level",
    "set_fixed_random_seed",
    "should_force_deterministic_algorithms",
    "universal_learner",
]


def __getattr__(name: str) -> Any:
    if name == "ProgressWriter":  # late: this module is imported before what writers are made of
        from .logging.progress_writer import ProgressWriter as Writer

        return Writer
    return _missing(name)
