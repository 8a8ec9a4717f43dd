"""What all rules of inference share: stored axes, dynamic axes, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...axis import Axis
from ...variables import Variable
from ..proto import AxisValue

Attributes = dict[str, Any]

DYNAMIC_AXIS = 2**31 - 1
ALL_STATIC_AXES = 2**31 - 2
ALL_AXES = 2**31 - 5


def expand(values: Sequence[Any], rank: int) -> list[Any]:
    """A one-element vector stands for all axes."""
    return list(values) * rank if len(values) == 1 else list(values)


def out_of_bounds(axis: AxisValue, rank: int) -> ValueError:
    return ValueError(
        f"Axis 'Axis('staticAxisIdx={axis.static_axis_idx}')' is out of bounds for the rank '{rank}' it "
        "applies to."
    )


def python_axis(axis: AxisValue, rank: int) -> int:
    """The Python index of a static axis stored in column-major numbering."""
    index = axis.static_axis_idx
    result = rank - 1 - index if index >= 0 else -1 - index
    if not 0 <= result < rank:
        raise out_of_bounds(axis, rank)
    return result


def stored_axis(axis: int) -> AxisValue:
    """A static axis as CNTK's Python side hands it on: counted from the other end, not yet normalised."""
    return AxisValue(-1 - axis, f"staticAxisIdx={-1 - axis}", True)


def value_of(axis: Axis) -> AxisValue:
    return AxisValue(axis.static_axis_index(checked=False), axis.name, axis.is_ordered)


def merge_dynamic_axes(inputs: Sequence[Variable]) -> tuple[Axis, ...]:
    """The dynamic axes of a result: those of the operand that has most; the others must be among them."""
    merged: tuple[Axis, ...] = ()
    for variable in inputs:
        if len(variable.dynamic_axes) > len(merged):
            merged = variable.dynamic_axes
    for variable in inputs:
        for axis in variable.dynamic_axes:
            if axis not in merged:
                names = ", ".join(repr(v) for v in inputs)
                raise RuntimeError(
                    f"Operands '{names}' have different dynamic axes; '{axis.name}' is not an axis of all "
                    "of them."
                )
    return merged


def origin(variable: Variable) -> Variable:
    """The variable behind block arguments and block results: the one that names derived axes."""
    while True:
        if variable.is_placeholder and variable.actual is not None:
            variable = variable.actual
        elif variable.owner is not None and variable.owner.body is not None:
            variable = variable.owner.body.outputs[variable._index]
        else:
            return variable
