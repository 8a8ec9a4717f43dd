"""How operations become nodes, and the leaves of the graph that users make."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..axis import Axis
from ..default_options import default_override_or, get_default_override
from ..internal.opcodes import Op
from ..variables import Constant, Parameter, Variable, sanitize_dtype, sanitize_shape
from .base import Function
from .nodes import CompositeFunction, PrimitiveFunction
from .tracing import to_variable

_BATCH_ONLY = (Axis.default_batch_axis(),)
_DTYPE = default_override_or(np.float32)


def primitive(
    op: Op, operands: Sequence[Any], attributes: dict[str, Any] | None = None, name: str = ""
) -> CompositeFunction:
    """One operation; numbers and arrays among the operands become constants of the others' type."""
    dtype = next((v.dtype for v in operands if isinstance(v, (Variable, Function))), np.float32)
    return PrimitiveFunction(op, [to_variable(v, dtype) for v in operands], attributes, name).composite()


def input_variable(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    dynamic_axes: Sequence[Axis] | Axis = _BATCH_ONLY,
    name: str = "",
) -> Variable:
    """A place for data: a batch of tensors of this shape."""
    axes = (dynamic_axes,) if isinstance(dynamic_axes, Axis) else tuple(dynamic_axes)
    dtype = sanitize_dtype(get_default_override(input_variable, dtype=dtype))
    axes = tuple(sorted(axes, key=lambda axis: not axis.is_batch_axis))  # the batch axis first
    return Variable(sanitize_shape(shape), dtype, needs_gradient, is_sparse, axes, name)


def input(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    dynamic_axes: Sequence[Axis] | Axis = _BATCH_ONLY,
    name: str = "",
) -> Variable:
    """The old name of `input_variable`."""
    warnings.warn(
        "This will be removed in future versions. Please use input_variable() instead.",
        DeprecationWarning,
        stacklevel=1,  # as CNTK: attributed to this module, so a recipe's log does not show it
    )
    return input_variable(shape, dtype, needs_gradient, is_sparse, dynamic_axes, name)


def output_variable(
    shape: Any, dtype: Any, dynamic_axes: Sequence[Axis], needs_gradient: bool = True, name: str = ""
) -> Variable:
    """What a user function's `infer_outputs` returns for each output."""
    return Variable(
        sanitize_shape(shape),
        sanitize_dtype(dtype),
        needs_gradient,
        dynamic_axes=dynamic_axes,
        name=name,
        kind="Output",
    )


def placeholder(shape: Any = None, dynamic_axes: Sequence[Axis] | None = None, name: str = "") -> Variable:
    """A hole in a graph, to be replaced by a variable."""
    if isinstance(shape, str):
        shape, name = None, shape
    return Variable(shape, dynamic_axes=dynamic_axes, name=name, kind="Placeholder")


def parameter(
    shape: Any = None, init: Any = None, dtype: Any = None, device: Any = None, name: str = ""
) -> Parameter:
    return Parameter(shape, init, dtype, device, name)


def constant(
    value: Any = None, shape: Any = None, dtype: Any = None, device: Any = None, name: str = ""
) -> Constant:
    if np.isscalar(value) and shape is None:
        shape = ()
    return Constant(value, shape, dtype, device, name)
