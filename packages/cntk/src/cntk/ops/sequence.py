"""Operations over the sequence axis (`cntk.sequence`)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..axis import Axis
from ..default_options import default_override_or, get_default_override
from ..internal.infer.values import value_of
from ..internal.missing import module_getattr
from ..internal.opcodes import Op
from ..internal.proto import SizeT
from ..variables import Variable, sanitize_dtype, sanitize_shape
from .construction import primitive
from .elementwise import element_divide, element_times, exp, minus
from .graph_ops import combine, reconcile_dynamic_axes
from .nodes import CompositeFunction
from .tracing import make_block, to_variable

_DTYPE = default_override_or(np.float32)
_SEQUENCE = Axis.default_dynamic_axis()


def input_variable(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    sequence_axis: Axis = _SEQUENCE,
    name: str = "",
) -> Variable:
    """A place for data: a batch of sequences of tensors of this shape."""
    dtype = sanitize_dtype(get_default_override(input_variable, dtype=dtype))
    axes = (Axis.default_batch_axis(), sequence_axis)
    return Variable(sanitize_shape(shape), dtype, needs_gradient, is_sparse, axes, name)


def input(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    sequence_axis: Axis = _SEQUENCE,
    name: str = "",
) -> Variable:
    """The old name of `input_variable`."""
    warnings.warn(
        "This will be removed in future versions. Please use sequence.input_variable() instead.",
        DeprecationWarning,
        stacklevel=1,
    )
    return input_variable(shape, dtype, needs_gradient, is_sparse, sequence_axis, name)


# Delays


def delay(x: Any, initial_state: Any = None, time_step: int = 1, name: str = "") -> CompositeFunction:
    """x some steps ago (negative: ahead)."""
    if time_step > 0:
        return past_value(x, initial_state, time_step, name)
    if time_step < 0:
        return future_value(x, initial_state, -time_step, name)
    return combine([x], name=name)


def _delayed(op: Op, x: Any, initial_state: Any, time_step: int, name: str) -> CompositeFunction:
    if time_step <= 0:
        raise ValueError("time_step must be positive")
    state: Any = 0.0 if initial_state is None else initial_state
    dtype = to_variable(x).dtype
    return primitive(op, [x, to_variable(state, dtype)], {"offset": SizeT(time_step)}, name)


def past_value(x: Any, initial_state: Any = None, time_step: int = 1, name: str = "") -> CompositeFunction:
    """x `time_step` steps ago, the initial state before the sequence begins."""
    return _delayed(Op.PastValue, x, initial_state, time_step, name)


def future_value(x: Any, initial_state: Any = None, time_step: int = 1, name: str = "") -> CompositeFunction:
    """x `time_step` steps ahead, the initial state behind the sequence's end."""
    return _delayed(Op.FutureValue, x, initial_state, time_step, name)


# Places in a sequence


def _like(value: float, operand: Any) -> CompositeFunction:
    """A number at every step of a sequence."""
    return reconcile_dynamic_axes(to_variable(value, operand.dtype), operand)


def _within(operand: Any, steps: int) -> CompositeFunction:
    """1 in the first `steps` steps (negative: in the last ones), else 0."""
    zeros = _like(0.0, operand)
    if steps > 0:
        return past_value(zeros, 1.0, steps)
    return future_value(zeros, 1.0, -steps)


def is_first(seq: Any, name: str = "") -> CompositeFunction:
    """1 at the first step of a sequence, else 0."""
    return make_block("Sequence::IsFirst", lambda v: _within(v, 1), [seq], name)


def is_last(seq: Any, name: str = "") -> CompositeFunction:
    return make_block("Sequence::IsLast", lambda v: _within(v, -1), [seq], name)


def _picked(operand: Any, condition: Any, attributes: dict[str, Any] | None = None) -> CompositeFunction:
    """The steps where the condition holds, as a sequence of their own."""
    index = primitive(Op.Where, [condition], attributes or {})
    return primitive(Op.GatherPacked, [operand, primitive(Op.PackedIndex, [operand, index], {})], {})


def slice(seq: Any, begin_index: int, end_index: int, name: str = "") -> CompositeFunction:
    """The steps from begin to end; 0 as the end is the sequence's end, negative indices count from there."""
    if begin_index == 0 and end_index == 0:
        return combine([seq], name=name)

    def body(v: Any) -> CompositeFunction:
        begin = end = None
        if begin_index > 0:
            begin = minus(1.0, _within(v, begin_index))
        elif begin_index < 0:
            begin = _within(v, begin_index)
        if end_index > 0:
            end = _within(v, end_index)
        elif end_index < 0:
            end = minus(1.0, _within(v, end_index))
        flags = begin if end is None else end if begin is None else element_times(begin, end)
        length = end_index - begin_index
        attributes = {
            "newSequenceAxisLengthScalingFactor": SizeT(0 if length > 0 else 1),
            "newSequenceAxisLengthAdditiveFactor": int(length),
        }
        return _picked(v, flags, attributes)

    return make_block("Sequence::Slice", body, [seq], name)


def first(seq: Any, name: str = "") -> CompositeFunction:
    """The first step, as a value without a sequence axis."""
    return slice(seq, 0, 1, name)


def last(seq: Any, name: str = "") -> CompositeFunction:
    return slice(seq, -1, 0, name)


def where(condition: Any, name: str = "") -> CompositeFunction:
    """The indices of the steps where the condition is not 0."""
    return primitive(Op.Where, [condition], {}, name)


def _axis_attributes(typeinfo: Any) -> dict[str, Any]:
    """The new axis asked for: an (axis, ...) description or the factors (scaling, additive) of its length."""
    if typeinfo is None:
        return {}
    scaling, added = typeinfo
    return {
        "newSequenceAxisLengthScalingFactor": SizeT(scaling),
        "newSequenceAxisLengthAdditiveFactor": int(added),
    }


def gather(
    seq: Any, condition: Any, new_sequence_axis_typeinfo: Any = None, name: str = ""
) -> CompositeFunction:
    """The steps of a sequence where the condition is not 0, as a new sequence."""
    attributes = _axis_attributes(new_sequence_axis_typeinfo)
    return make_block(
        "Sequence::Gather", lambda v, c: _picked(v, c, dict(attributes)), [seq, condition], name
    )


def scatter(
    seq: Any, condition: Any, new_sequence_axis_typeinfo: Any = None, name: str = ""
) -> CompositeFunction:
    """The steps put where the condition is not 0; zero elsewhere."""
    attributes = _axis_attributes(new_sequence_axis_typeinfo)

    def body(v: Any, c: Any) -> CompositeFunction:
        index = primitive(Op.PackedIndex, [c, primitive(Op.Where, [c], dict(attributes))], {})
        return primitive(Op.ScatterPacked, [v, index, c], {})

    return make_block("Sequence::Scatter", body, [seq, condition], name)


def broadcast_as(operand: Any, broadcast_as_operand: Any, name: str = "") -> CompositeFunction:
    """A value without a sequence axis at every step of a sequence."""
    like = to_variable(broadcast_as_operand)
    return make_block(
        "Sequence::BroadcastAs", reconcile_dynamic_axes, [to_variable(operand, like.dtype), like], name
    )


# Reductions


def _reduced(kind: str, seq: Any, name: str) -> CompositeFunction:
    axis = to_variable(seq).sequence_axis or Axis.default_dynamic_axis()
    attributes = {
        "axis": value_of(axis),
        "reductionOpName": kind,
        "reductionKeepDimensions": False,
    }
    return make_block(
        "Sequence::ReduceElements",
        lambda v: primitive(Op.ReduceElements, [v], dict(attributes)),
        [seq],
        name,
    )


def reduce_sum(seq: Any, name: str = "") -> CompositeFunction:
    """The sum over a sequence."""
    return _reduced("Sum", seq, name)


def reduce_max(seq: Any, name: str = "") -> CompositeFunction:
    return _reduced("Max", seq, name)


def softmax(seq: Any, name: str = "") -> CompositeFunction:
    """exp(x) over its sum over the sequence."""

    def body(v: Any) -> CompositeFunction:
        top = exp(minus(v, broadcast_as(reduce_max(v), v)))
        return element_divide(top, broadcast_as(reduce_sum(top), top))

    return make_block("Sequence::Softmax", body, [seq], name)


def unpack(x: Any, padding_value: float, no_mask_output: bool = False, name: str = "") -> CompositeFunction:
    """The sequences of a batch as a first static axis, and (unless not wanted) where they have data."""
    attributes = {
        "sequenceUnpackPaddingValue": float(padding_value),
        "sequenceUnpackSuppressMaskOutput": bool(no_mask_output),
    }
    return primitive(Op.UnpackSequence, [x], attributes, name)


__all__ = [
    "broadcast_as", "delay", "first", "future_value", "gather", "input", "input_variable", "is_first",
    "is_last", "last", "past_value", "reduce_max", "reduce_sum", "scatter", "slice", "softmax", "unpack",
    "where",
]  # fmt: skip

__getattr__ = module_getattr("cntk.ops.sequence")
