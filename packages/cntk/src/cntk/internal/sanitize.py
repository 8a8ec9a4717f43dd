"""What CNTK's own scripts and tests take from its `cntk.internal`: arguments brought to one form."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..axis import Axis
from ..core import NDArrayView, Value, is_csr
from ..variables import Constant, Record, Variable, sanitize_shape
from .utils import get_data_type

_NOT_CONTIGUOUS = "supplied data is not C contiguous; use np.ascontiguousarray"
_NUMBERS: dict[Any, int] = {np.float32: 1, np.float64: 2, np.float16: 4, np.int8: 5, np.int16: 6}
_NAMES: dict[Any, Any] = {
    "float": np.float32, "float32": np.float32, np.float32: np.float32, int: np.float32,
    "double": np.float64, "float64": np.float64, np.float64: np.float64, float: np.float64,
    "float16": np.float16, np.float16: np.float16,
    "int8": np.int8, np.int8: np.int8, "int16": np.int16, np.int16: np.int16,
}  # fmt: skip


def sanitize_dtype_numpy(dtype: Any) -> Any:
    """The NumPy type of a name, a Python or a NumPy type.  Raises ValueError for others."""
    if isinstance(dtype, np.dtype):
        dtype = dtype.type
    found = _NAMES.get(dtype)
    if found is None:
        raise ValueError(f'data type "{dtype}" is not supported')
    return found


def sanitize_dtype_cntk(dtype: Any) -> int:
    """CNTK's number of the type (`cntk_py.DataType_...`)."""
    if dtype is None:
        return 0
    if type(dtype) is int and dtype in (0, *_NUMBERS.values()):
        return dtype
    return _NUMBERS[sanitize_dtype_numpy(dtype)]


def data_type_to_dtype(data_type: int) -> Any:
    """The NumPy type of CNTK's number.  Raises ValueError for an unknown one."""
    for kind, number in _NUMBERS.items():
        if number == data_type:
            return kind
    raise ValueError(f"data_type {data_type} is not supported")


def sanitize_precision(precision: Any) -> Any:
    """The NumPy type of 'float', 'double', or a type."""
    return sanitize_dtype_numpy(precision)


def sanitize_input(arg: Any, fallback_dtype: Any = np.float32, reshape: Any = None) -> Any:
    """A variable as it is, a function's output, a constant of anything else."""
    from ..ops.base import Function
    from ..ops.tracing import to_variable

    if isinstance(arg, (Variable, Function)):
        return to_variable(arg)
    if isinstance(arg, list) and not arg:
        raise ValueError("input is empty")
    array = np.asarray(arg, dtype=fallback_dtype)
    if reshape is not None:
        array = array.reshape(reshape)
    return Constant(array, array.shape, array.dtype)


def sanitize_value(shape: Any, value: Any, dtype: Any, device: Any = None) -> NDArrayView:
    """A number filling a shape, or an array, as a view."""
    if np.isscalar(value) or (isinstance(value, np.ndarray) and value.ndim == 0):
        array = np.full(() if shape is None else sanitize_shape(shape), value, dtype)
    else:
        array = np.asarray(value, dtype)
    return NDArrayView.from_dense(array, device)


def sanitize_batch(var: Variable, batch: Any, seq_starts: Any = None, device: Any = None) -> Value:
    """The value that feeds `batch` to a variable.

    Raises ValueError for sequence starts beside a ready value.
    """
    if isinstance(batch, Value):
        if seq_starts is not None:
            raise ValueError("for directly passed Value objects sequence starts cannot be specified yet.")
        return batch
    items = batch if isinstance(batch, list) else [batch]
    if any(isinstance(i, np.ndarray) and i.ndim > 1 and not i.flags.c_contiguous for i in items):
        warnings.warn(_NOT_CONTIGUOUS, RuntimeWarning, stacklevel=2)
    if isinstance(batch, list):
        batch = [
            item if is_csr(item) or isinstance(item, NDArrayView) else np.asarray(item) for item in batch
        ]
    return Value.create(var, batch, seq_starts, device)


def sanitize_axis(axis: Any) -> Axis:
    """An axis object for an axis or a number; None stands for all static axes."""
    if axis is None:
        return Axis.all_static_axes()
    return axis if isinstance(axis, Axis) else Axis(int(axis))


def sanitize_dynamic_axes(axes: Any) -> tuple[Axis, ...]:
    """The dynamic axes in the order of CNTK's core: the batch axis last."""
    if not isinstance(axes, (list, tuple)):
        axes = [axes]
    for axis in axes:
        if not isinstance(axis, Axis):
            raise TypeError(f"axis expected, but got {type(axis)}")
    return tuple(reversed(tuple(axes)))


def sanitize_function(arg: Any) -> Any:
    """A function as it is, an output variable's function.  Raises TypeError for anything else."""
    from ..ops.base import Function

    if isinstance(arg, Variable) and arg.owner is not None:
        return arg.owner.composite()
    if not isinstance(arg, Function):
        raise TypeError(f"Object of type {type(arg)} cannot be cast to Variable")
    return arg


def sanitize_range(begin: Any, end: Any) -> tuple[int, int]:
    return int(begin), int(end)


def sanitize_var_map(
    op_arguments: Iterable[Variable], arguments: Any, precision: Any = None, device: Any = None
) -> dict[Variable, Value]:
    """The values of a function's arguments, from a dictionary or the value of the only one."""
    formal = list(op_arguments)
    if not isinstance(arguments, dict):
        if len(formal) != 1:
            raise ValueError("non-dict argument (...) is not supported for nodes with more than one input")
        arguments = {formal[0]: arguments}
    by_name = {v.name: v for v in formal}
    return {
        (by_name[key] if isinstance(key, str) else key): sanitize_batch(
            by_name[key] if isinstance(key, str) else key, value, device=device
        )
        for key, value in arguments.items()
    }


def is_string(value: Any) -> bool:
    return isinstance(value, str)


def is_byte_buffer(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray))


def _as_tuple(x: Any) -> tuple[Any, ...]:
    """A scalar, a list or a tuple as a tuple."""
    return tuple(x) if isinstance(x, (list, tuple)) else (x,)


def _value_as_sequence_or_array(val: Value, var: Variable) -> Any:
    """A list of sequences for a variable with a sequence axis, an array for others."""
    return val.as_sequences(var) if var.has_sequence_axis() else val.asarray()


__all__ = [
    "Record", "_as_tuple", "_value_as_sequence_or_array", "data_type_to_dtype", "get_data_type",
    "is_byte_buffer", "is_string", "sanitize_axis", "sanitize_batch", "sanitize_dtype_cntk",
    "sanitize_dtype_numpy", "sanitize_dynamic_axes", "sanitize_function", "sanitize_input",
    "sanitize_precision", "sanitize_range", "sanitize_shape", "sanitize_value", "sanitize_var_map",
]  # fmt: skip
