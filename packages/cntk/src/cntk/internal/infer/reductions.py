"""What a reduction goes over, and the shape it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from ...axis import Axis
from ...variables import ShapeOrUnknown, Variable
from ..opcodes import Op
from ..proto import AxisValue
from .values import ALL_AXES, ALL_STATIC_AXES, DYNAMIC_AXIS, Attributes, merge_dynamic_axes, python_axis


class Over(Enum):
    STATIC = auto()
    BATCH = auto()
    SEQUENCE = auto()
    EVERYTHING = auto()


def _stored(attributes: Attributes) -> list[AxisValue]:
    return attributes.get("axisVec") or [attributes["axis"]]


def reduced_over(attributes: Attributes) -> Over:
    stored = _stored(attributes)
    first = next((axis for axis in stored if axis.static_axis_idx == DYNAMIC_AXIS), stored[0])
    if first.static_axis_idx == ALL_AXES:
        return Over.EVERYTHING
    if first.static_axis_idx == DYNAMIC_AXIS:
        return Over.SEQUENCE if first.is_ordered else Over.BATCH
    return Over.STATIC


def reduction_axes(attributes: Attributes, rank: int) -> tuple[int, ...]:
    """The static axes reduced over, in Python numbering."""
    stored = [axis for axis in _stored(attributes) if axis.static_axis_idx != DYNAMIC_AXIS]
    if stored and stored[0].static_axis_idx == ALL_STATIC_AXES:
        return tuple(range(rank))
    return tuple(sorted(python_axis(axis, rank) for axis in stored))


def reduce(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    over = reduced_over(attributes)
    if over is Over.EVERYTHING:
        return ()
    if over is Over.SEQUENCE:
        return x
    axes = reduction_axes(attributes, len(x))
    if attributes.get("reductionKeepDimensions", True):
        return tuple(1 if i in axes else dim for i, dim in enumerate(x))
    return tuple(dim for i, dim in enumerate(x) if i not in axes)


def axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    over = reduced_over(attributes)
    if over in (Over.EVERYTHING, Over.BATCH):
        return ()
    merged = merge_dynamic_axes(inputs)
    return tuple(a for a in merged if a.is_batch_axis) if over is Over.SEQUENCE else merged


RULES = {Op.ReduceElements: reduce}
