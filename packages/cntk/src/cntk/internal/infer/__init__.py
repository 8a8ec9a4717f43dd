"""Inference: shapes and dynamic axes of every primitive, and the parameter dimensions it determines.

Shapes are Python-ordered; attributes are kept as the file stores them (reversed), so that saving writes them
unchanged.  An output whose operands are not known yet has the unknown shape None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...axis import Axis
from ...variables import ShapeOrUnknown, Variable
from ..missing import unavailable
from ..opcodes import Op
from . import elementwise, others, products, reductions, sequences, shapes, windows
from .elementwise import ELEMENTWISE_BINARY, ELEMENTWISE_TERNARY, ELEMENTWISE_UNARY
from .values import ALL_AXES, ALL_STATIC_AXES, Attributes, expand, merge_dynamic_axes

Rule = Callable[[Op, Sequence[Variable], Attributes], Any]
AxesRule = Callable[[Sequence[Variable], Attributes], tuple[Axis, ...]]

_RULES: dict[Op, Rule] = {
    **elementwise.RULES,
    **products.RULES,
    **reductions.RULES,
    **shapes.RULES,
    **windows.RULES,
    **sequences.RULES,
    **others.RULES,
}
_AXES: dict[Op, AxesRule] = {**sequences.AXES, **others.AXES, Op.ReduceElements: reductions.axes}

_BROADCASTING = ELEMENTWISE_BINARY | ELEMENTWISE_TERNARY
# Operands that only say where the data goes, or hold indices: they may be of another type.
_ANY_TYPE = {Op.Cast, Op.ReconcileDynamicAxis, Op.PackedIndex, Op.GatherPacked, Op.ScatterPacked}
_NAMES_OF_TYPES = {np.dtype(np.float64): "Double", np.dtype(np.float16): "Float16"}


class _Assumed:
    """In a recurrence nothing tells a size, at last: axes of one are taken for what they are."""

    ones = False


assumed = _Assumed()


class Inferred:
    """(shape, dynamic axes) per output, unknown as long as an operand is.

    `pending` is the state of a value in a recurrence that waits for its own inference: an element-wise
    operation takes what its other operands say.
    """

    def __init__(self, shapes_: list[ShapeOrUnknown], axes: tuple[Axis, ...] | None, pending: bool = False):
        self.shapes = shapes_
        self.axes = axes
        self.pending = pending


def _open_type(variable: Variable) -> bool:
    """A placeholder takes the type of what replaces it; a constant is looked at when it is computed with."""
    return variable.is_placeholder or variable.is_constant


def check_data_types(op: Op, inputs: Sequence[Variable], known: Sequence[Variable]) -> None:
    """All operands of a primitive must be float32 or all float64."""
    if op in _ANY_TYPE:
        return
    different = next((v for v in known if v._dtype != known[0]._dtype), None)
    if different is not None:
        names = ", ".join(repr(v) for v in inputs)
        first, second = (_NAMES_OF_TYPES.get(v._dtype, "Float") for v in (known[0], different))
        raise ValueError(
            f"Primitive op '{op.name}' passed operands '{names}' with different DataTypes '{first}' and "
            f"'{second}'."
        )


def result_count(op: Op, attributes: Attributes) -> int:
    if op is Op.TopK:
        return 2
    if op is Op.UnpackSequence:
        return 1 if attributes.get("sequenceUnpackSuppressMaskOutput", False) else 2
    return 1


def infer_output(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> Inferred:
    rule = _RULES.get(op)
    if rule is None:
        raise unavailable(f"the operation {op.name} (code {int(op)})")
    # A placeholder takes the type of what replaces it.
    check_data_types(op, inputs, [v for v in inputs if v._shape is not None and not _open_type(v)])
    count = result_count(op, attributes)
    if any(v.pending for v in inputs):
        return _provisional(op, rule, inputs, attributes, count)
    axes = None
    if all(v.axes_known for v in inputs):
        axes = _AXES[op](inputs, attributes) if op in _AXES else merge_dynamic_axes(inputs)
        if op is Op.Times and attributes.get("inferInputRankToMap") == products.REDUCE_SEQUENCE_AXIS:
            axes = tuple(a for a in axes if a.is_batch_axis)
    shape = rule(op, inputs, attributes)
    if isinstance(shape, list):
        return Inferred(shape, axes)
    return Inferred([shape] * count, axes)


def _provisional(
    op: Op, rule: Rule, inputs: Sequence[Variable], attributes: Attributes, count: int
) -> Inferred:
    """What can be said in a recurrence before its delays are inferred: a shape as soon as the operands (for
    an element-wise operation, one that is no mere number) tell it, and the sequence axis of the other
    operands, which is the recurrence's."""
    others = [v for v in inputs if not v.pending]
    if any(v._shape is None or not v.axes_known for v in others):  # a placeholder is to be replaced first
        return Inferred([None] * count, None)
    axes: tuple[Axis, ...] | None = None
    if op is Op.ReconcileDynamicAxis:
        axes = inputs[1].dynamic_axes if inputs[1] in others else None
        return Inferred([inputs[0]._shape], axes, pending=axes is None or inputs[0]._shape is None)
    if op not in _AXES:
        merged = merge_dynamic_axes(others)
        alike = op in _BROADCASTING or any(axis.is_sequence_axis for axis in merged)
        axes = merged if merged and alike else None
    shape: Any
    if op in _BROADCASTING:
        shaped = [v for v in inputs if v._shape is not None]
        telling = assumed.ones or any(dim != 1 for v in shaped for dim in v.shape)
        shape = elementwise.broadcast(op, shaped, attributes) if shaped and telling else None
    else:
        shape = rule(op, inputs, attributes)
    found = shape if isinstance(shape, list) else [shape] * count
    return Inferred(found, axes, pending=axes is None or any(known is None for known in found))


__all__ = [
    "ALL_AXES",
    "ALL_STATIC_AXES",
    "ELEMENTWISE_BINARY",
    "ELEMENTWISE_TERNARY",
    "ELEMENTWISE_UNARY",
    "Inferred",
    "check_data_types",
    "expand",
    "infer_output",
    "result_count",
]
