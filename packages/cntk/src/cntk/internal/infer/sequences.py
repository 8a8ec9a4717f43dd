"""Shapes and dynamic axes of operations on sequences and on the batch axis."""

from __future__ import annotations

from collections.abc import Sequence

from ...axis import Axis
from ...variables import FREE, ShapeOrUnknown, Variable
from ..opcodes import Op
from ..proto import AxisValue
from .values import Attributes, merge_dynamic_axes, origin

BATCH = Axis.default_batch_axis()


def delay(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x, initial = inputs[0]._shape, inputs[1]._shape
    if x is None or initial is None or len(initial) <= len(x):
        return x
    return initial


def delay_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    return inputs[0].dynamic_axes


def first_shape(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return inputs[0]._shape


def reconciled(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return inputs[0]._shape if inputs[1].axes_known else None


def scalar(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return None if any(v._shape is None for v in inputs) else ()


def where_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    """The axis of what is picked: named after the condition, or derived from its axis by a known factor."""
    condition = inputs[0]
    batch = tuple(a for a in condition.dynamic_axes if a.is_batch_axis)
    if "newSequenceAxisLengthScalingFactor" in attributes:
        scaling = int(attributes["newSequenceAxisLengthScalingFactor"])
        added = int(attributes["newSequenceAxisLengthAdditiveFactor"])
        if (scaling, added) == (0, 1):
            return batch
        base = next((a.name for a in condition.dynamic_axes if a.is_sequence_axis), "")
        if (scaling, added) == (1, 0):
            return condition.dynamic_axes
        if scaling == 0:
            return (*batch, Axis(f"{base}_fixedSliceOf_{added}"))
        sign = "plus" if added > 0 else "minus"
        tail = f"_{sign}_{abs(added)}" if added else ""
        return (*batch, Axis(f"{base}_times_{scaling}{tail}"))
    given: list[AxisValue] = attributes.get("newDynamicAxes") or []
    known = [a for a in given if a.name != "unknownDynamicAxes"]
    if known:
        return tuple(Axis(None, a.name, a.is_ordered) for a in reversed(known))
    return (*batch, Axis(f"whereNodeDynamicAxis_conditionVar_{origin(condition).uid}"))


def second_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    return inputs[1].dynamic_axes


def third_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    return inputs[2].dynamic_axes


def batch_axis(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    return (BATCH,)


def no_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    return ()


def unpack_sequence(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> list[ShapeOrUnknown]:
    x = inputs[0]._shape
    values: ShapeOrUnknown = None if x is None else (FREE, *x)
    mask: ShapeOrUnknown = None if x is None else (FREE,)
    return [values] if attributes.get("sequenceUnpackSuppressMaskOutput", False) else [values, mask]


def unpack_batch(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    return None if x is None else (FREE, *x)


def without_first(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    return None if x is None else x[1:]


def to_sequence_axes(inputs: Sequence[Variable], attributes: Attributes) -> tuple[Axis, ...]:
    if inputs[0].has_sequence_axis():
        raise ValueError(f"ToSequence: the operand '{inputs[0]!r}' has a sequence axis already.")
    given: list[AxisValue] = attributes.get("newDynamicAxes") or []
    prefix = given[0].name if given else "toSequence_"
    return (BATCH, Axis(prefix + origin(inputs[0]).uid))


RULES = {
    Op.PastValue: delay,
    Op.FutureValue: delay,
    Op.Where: scalar,
    Op.PackedIndex: lambda op, inputs, attributes: inputs[1]._shape,
    Op.GatherPacked: first_shape,
    Op.ScatterPacked: first_shape,
    Op.ReconcileDynamicAxis: reconciled,
    Op.UnpackSequence: unpack_sequence,
    Op.UnpackBatch: unpack_batch,
    Op.ToBatch: without_first,
    Op.ToSequence: without_first,
    Op.ToSequenceLike: without_first,
}
AXES = {
    Op.PastValue: delay_axes,
    Op.FutureValue: delay_axes,
    Op.Where: where_axes,
    Op.PackedIndex: second_axes,
    Op.GatherPacked: second_axes,
    Op.ScatterPacked: third_axes,
    Op.ReconcileDynamicAxis: second_axes,
    Op.UnpackSequence: batch_axis,
    Op.UnpackBatch: no_axes,
    Op.ToBatch: batch_axis,
    Op.ToSequence: to_sequence_axes,
    Op.ToSequenceLike: second_axes,
}

__all__ = ["AXES", "RULES", "merge_dynamic_axes"]
