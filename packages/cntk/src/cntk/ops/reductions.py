"""Reductions."""

from __future__ import annotations

from typing import Any

from ..axis import Axis
from ..internal.infer.values import ALL_AXES, ALL_STATIC_AXES
from ..internal.opcodes import Op
from ..internal.proto import AxisValue
from ..variables import is_scalar
from .construction import primitive
from .elementwise import abs, element_times, sqrt
from .nodes import CompositeFunction
from .shapes import sanitize_axis
from .tracing import make_block


def reduction_attributes(kind: str, axis: Any, keepdims: bool) -> dict[str, Any]:
    axes = [axis] if axis is None or is_scalar(axis) or isinstance(axis, Axis) else list(axis)
    stored = [sanitize_axis(a) for a in axes]
    for one in stored:
        if one.static_axis_idx == 2**31 - 1 and one.is_ordered:
            raise ValueError(
                f"Reduction operation over multiple axes can not contain sequence axis: Axis('{one.name}')"
            )
    first = stored[0].static_axis_idx
    if first in (ALL_AXES, ALL_STATIC_AXES):
        keepdims = False
    where: dict[str, Any] = {"axis": stored[0]} if len(stored) == 1 else {"axisVec": stored}
    return {**where, "reductionOpName": kind, "reductionKeepDimensions": bool(keepdims)}


def _reduction(kind: str, x: Any, axis: Any, keepdims: bool, name: str) -> CompositeFunction:
    attributes = reduction_attributes(kind, axis, keepdims)
    return make_block(
        "ReduceElements",
        lambda v: primitive(Op.ReduceElements, [v], dict(attributes)),
        [x],
        name,
        dict(attributes),
    )


def reduce_sum(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    """The sum over an axis, a list of axes, all static axes (None), the batch axis or all axes."""
    return _reduction("Sum", x, axis, keepdims, name)


def reduce_mean(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Mean", x, axis, keepdims, name)


def reduce_max(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Max", x, axis, keepdims, name)


def reduce_min(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Min", x, axis, keepdims, name)


def reduce_prod(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Prod", x, axis, keepdims, name)


def reduce_log_sum_exp(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("LogSum", x, axis, keepdims, name)


def reduce_l1(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return make_block("ReduceL1", lambda v: reduce_sum(abs(v), axis, keepdims), [x], name)


def reduce_l2(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return make_block("ReduceL2", lambda v: sqrt(reduce_sum(element_times(v, v), axis, keepdims)), [x], name)


def reduce_sum_square(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return make_block("ReduceSumSquare", lambda v: reduce_sum(element_times(v, v), axis, keepdims), [x], name)


def _position(kind: str, x: Any, axis: Any, name: str) -> CompositeFunction:
    everything = axis is None or axis == Axis.all_static_axes()
    stored = AxisValue(ALL_STATIC_AXES, "AllStaticAxes", False) if everything else sanitize_axis(axis)
    attributes = {"axis": stored, "reductionOpName": kind, "reductionKeepDimensions": not everything}
    return primitive(Op.ReduceElements, [x], attributes, name)


def argmax(x: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    """The index of the first maximum."""
    return _position("Argmax", x, axis, name)


def argmin(x: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    return _position("Argmin", x, axis, name)


__all__ = [
    "argmax", "argmin", "reduce_l1", "reduce_l2", "reduce_log_sum_exp", "reduce_max", "reduce_mean",
    "reduce_min", "reduce_prod", "reduce_sum", "reduce_sum_square",
]  # fmt: skip
