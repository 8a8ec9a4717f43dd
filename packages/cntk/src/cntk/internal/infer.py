"""Shape inference: the output shape of every primitive, and the parameter dimensions it determines.

Shapes are Python-ordered; attributes are kept as the file stores them (reversed), so that saving writes them
unchanged.  An output whose operands are not known yet has the unknown shape None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axis import Axis
from ..variables import INFERRED, ShapeOrUnknown, Variable, _Stored, shape_text
from .geometry import window
from .missing import unavailable
from .opcodes import Op
from .proto import INFERRED_DIMENSION, AxisValue, Shape, SizeT

if TYPE_CHECKING:
    Attributes = dict[str, Any]

ALL_STATIC_AXES = 2**31 - 2
ALL_AXES = 2**31 - 5

ELEMENTWISE_UNARY = {
    Op.Negate, Op.Sigmoid, Op.StableSigmoid, Op.Tanh, Op.ReLU, Op.Exp, Op.Log, Op.Sqrt, Op.Floor, Op.Abs,
    Op.Reciprocal, Op.Softmax, Op.Hardmax, Op.LogSoftmax, Op.Dropout, Op.NoOp, Op.Pass, Op.StopGradient,
    Op.Sin, Op.Cos,
}  # fmt: skip
ELEMENTWISE_BINARY = {Op.Plus, Op.Minus, Op.ElementTimes, Op.LogPlus, Op.Pow}


def expand(values: Sequence[Any], rank: int) -> list[Any]:
    """A one-element vector stands for all axes."""
    return list(values) * rank if len(values) == 1 else list(values)


def python_axis(axis: AxisValue, rank: int) -> int:
    """The Python index of a static axis stored in column-major numbering."""
    index = axis.static_axis_idx
    result = rank - 1 - index if index >= 0 else -1 - index
    if not 0 <= result < max(rank, 1):
        raise ValueError(
            f"Axis 'Axis('staticAxisIdx={index}')' is out of bounds for the rank '{rank}' it applies to."
        )
    return result


def merge_dynamic_axes(inputs: Sequence[Variable]) -> tuple[Axis, ...]:
    merged: tuple[Axis, ...] = ()
    for variable in inputs:
        if len(variable.dynamic_axes) > len(merged):
            merged = variable.dynamic_axes
    return merged


def _elementwise(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    left, right = inputs
    a, b = left._shape, right._shape
    if a is None or b is None:
        return None
    rank = max(len(a), len(b))
    padded_a = (1,) * (rank - len(a)) + a
    padded_b = (1,) * (rank - len(b)) + b
    dims = []
    for m, n in zip(padded_a, padded_b, strict=True):
        if m == n or n == 1:
            dims.append(m)
        elif m == 1 or m == INFERRED:
            dims.append(n)
        elif n == INFERRED:
            dims.append(m)
        else:
            raise RuntimeError(
                f"Binary elementwise operation {op.name}: Left operand '{left!r}' shape '{shape_text(a)}' "
                f"is not compatible with right operand '{right!r}' shape '{shape_text(b)}'."
            )
    for variable, padded in ((left, padded_a), (right, padded_b)):
        if isinstance(variable, _Stored) and INFERRED in variable.shape and len(variable.shape) == rank:
            variable.set_inferred_shape(
                tuple(dim if old == INFERRED else old for old, dim in zip(padded, dims, strict=True))
            )
    return tuple(dims)


def _times(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    weight, data = inputs  # stored order: right operand first
    output_rank = int(attributes["outputRank"])
    x, w = data._shape, weight._shape
    if w is None or x is None:
        return None
    map_rank = int(attributes.get("inferInputRankToMap", -1))
    if output_rank > len(w):
        raise ValueError(
            f"Times: The output rank {output_rank} is larger than the rank of the right operand with shape "
            f"'{shape_text(w)}'"
        )
    if INFERRED in w:
        if INFERRED in x or not isinstance(weight, _Stored):
            return None
        contracted = x[map_rank:] if map_rank >= 0 else x[len(x) - (len(w) - output_rank) :]
        w = contracted + w[len(w) - output_rank :]
        weight.set_inferred_shape(w)
    reduced = len(w) - output_rank
    if reduced > len(x) or w[:reduced] != x[len(x) - reduced :]:
        raise ValueError(
            f"Times: The {reduced} leading dimensions of the right operand with shape "
            f"'{shape_text(w[:reduced])}' do not match the left operand's trailing dimensions with shape "
            f"'{shape_text(x)}'"
        )
    return x[: len(x) - reduced] + w[reduced:]


def _transpose_times(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    right, left = inputs
    a, b = left._shape, right._shape
    if a is None or b is None:
        return None
    if len(b) not in (1, 2) or len(a) < 1:
        raise unavailable("cntk.times_transpose with operands of these ranks")
    if a[-1] != b[-1]:
        raise ValueError(
            f"Times: The 1 leading dimensions of the right operand with shape '{shape_text(b[-1:])}' do not "
            f"match the left operand's trailing dimensions with shape '{shape_text(a)}'"
        )
    return a[:-1] + (b[:-1] or (1,))


def _convolution(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    weight, data = inputs
    x, w = data._shape, weight._shape
    if attributes.get("transpose") or attributes.get("sequential"):
        raise unavailable("transposed or sequential convolution")
    if x is None or w is None:
        return None
    if len(w) != len(x) + 1:
        if len(w) == len(x) and len(x) > 0 and w[0] != INFERRED:
            raise unavailable("cntk.convolution without an output-channel axis")
        raise ValueError("Convolution map tensor must have rank 1 or the same as the input tensor.")
    if INFERRED in x:
        return None
    groups = int(attributes.get("groups", 1))
    if INFERRED in w and isinstance(weight, _Stored):
        w = (w[0], x[0] // groups, *w[2:])
        weight.set_inferred_shape(w)
    if groups != 1 and w[1] * groups != x[0]:
        raise RuntimeError(
            "groups: number of input channels (C) must be equal to number of input kernel channels (kC) * "
            "groups (G)."
        )
    if w[1] != x[0] and groups == 1:
        raise ValueError(f"Convolution operation requires that kernel dim {w[1]} <= input dim {x[0]}.")
    rank = len(x)
    attributes.setdefault("dilation", Shape([1]))  # files of before CNTK 2.4 do not have it
    for key in ("strides", "dilation", "autoPadding", "sharing", "lowerPad", "upperPad"):
        if len(attributes.get(key) or (0,)) not in (1, rank - 1, rank):
            raise ValueError(f"Convolution: '{key}' must have a value for each of the {rank} axes, or one.")
    attributes["kernelShape"] = Shape(reversed(w[1:]))
    for key, channel in (("strides", w[1]), ("dilation", 1)):
        values = list(attributes[key])
        # The layers give spatial values only; the channel axis is covered in one step.
        values = values * (rank - 1) if len(values) == 1 else values
        attributes[key] = Shape([*values, channel][:rank])
    for key in ("autoPadding", "sharing"):
        attributes[key] = expand(attributes[key], rank)
    for key in ("lowerPad", "upperPad"):
        attributes[key] = Shape(expand(attributes.get(key) or (0,), rank))
    return (w[0], *(win.out for win in convolution_windows(x[1:], w[2:], attributes)))


def convolution_windows(spatial: Sequence[int], kernel: Sequence[int], attributes: Attributes) -> list[Any]:
    """The windows of a convolution, in Python order of the spatial axes."""
    rank = len(spatial)

    def axis_values(key: str) -> list[Any]:
        return list(reversed(list(attributes[key])[:rank]))

    return [
        window(n, (k - 1) * d + 1, s, auto, low, high)
        for n, k, s, d, auto, low, high in zip(
            spatial,
            kernel,
            axis_values("strides"),
            axis_values("dilation"),
            axis_values("autoPadding"),
            axis_values("lowerPad"),
            axis_values("upperPad"),
            strict=True,
        )
    ]


def pooling_windows(x: Sequence[int], attributes: Attributes) -> tuple[list[int], list[int], list[Any]]:
    """(kernel, strides, windows) of a pooling, in Python order of the pooled (trailing) axes."""
    kernel = list(attributes["poolingWindowShape"])
    rank = len(kernel)
    if rank > len(x):
        raise ValueError("Pooling window tensor must have a rank that is not larger than the input tensor's.")
    if rank == 0:
        raise ValueError("Pooling window tensor must have at least one axis.")
    for key in ("strides", "autoPadding", "lowerPad", "upperPad"):
        # The flags of automatic padding may go on for the channels.
        given = len(attributes.get(key) or (0,))
        if given not in (1, rank) and not (key == "autoPadding" and given > rank):
            raise ValueError(f"Pooling: '{key}' must have a value for each of the {rank} axes, or one.")
    strides = expand(attributes["strides"], rank)
    auto = expand(attributes["autoPadding"], rank)[:rank]
    low = expand(attributes.get("lowerPad") or (0,), rank)
    high = expand(attributes.get("upperPad") or (0,), rank)
    ceil = bool(attributes.get("ceilOutDim", False))
    spatial = list(reversed(x[len(x) - rank :]))
    windows = [
        window(n, k, s, a, lo, hi, ceil)
        for n, k, s, a, lo, hi in zip(spatial, kernel, strides, auto, low, high, strict=True)
    ]
    return kernel[::-1], strides[::-1], windows[::-1]


def _pooling(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    kernel, _, windows = pooling_windows(x, attributes)
    return (*x[: len(x) - len(kernel)], *(win.out for win in windows))


def _reduce(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    axes = reduction_axes(attributes, len(x))
    keep = attributes.get("reductionKeepDimensions", True)
    if axes is None:
        return ()
    if keep:
        return tuple(1 if i in axes else dim for i, dim in enumerate(x))
    return tuple(dim for i, dim in enumerate(x) if i not in axes)


def reduction_axes(attributes: Attributes, rank: int) -> tuple[int, ...] | None:
    """The static axes reduced over (Python numbering); None for all axes including the batch."""
    stored: list[AxisValue] = attributes.get("axisVec") or [attributes["axis"]]
    first = stored[0].static_axis_idx
    if first == ALL_AXES:
        return None
    if first == ALL_STATIC_AXES:
        return tuple(range(rank))
    if first == 2**31 - 1:
        raise unavailable("reduction over a dynamic axis")
    return tuple(sorted(python_axis(axis, rank) for axis in stored))


def _reshape(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    begin, end = reshape_range(attributes, len(x))
    old = x[begin:end]
    new = [INFERRED if dim == INFERRED_DIMENSION else int(dim) for dim in reversed(attributes["newShape"])]
    old_text, new_text = shape_text(tuple(old)), shape_text(tuple(new))
    start = f"Reshape: Operand (sub-)dimensions '{old_text}' incompatible with desired replacement "
    start += "(sub-)dimensions"
    if new.count(INFERRED) > 1:
        raise ValueError(
            f"Reshape: More than one axis's dimension was unspecified in the replacement shape '{new_text}'"
        )
    if INFERRED in new:
        known = math.prod(dim for dim in new if dim != INFERRED)
        if known == 0 or math.prod(old) % known:
            raise ValueError(
                f"{start} '{new_text}'. Number of elements is not an integer multiple of the non-inferred "
                "dimensions.."
            )
        new[new.index(INFERRED)] = math.prod(old) // known
    if math.prod(old) != math.prod(new):
        raise ValueError(f"{start} '{new_text}'. Number of elements must be the same..")
    return (*x[:begin], *new, *x[end:])


def reshape_range(attributes: Attributes, rank: int) -> tuple[int, int]:
    """The Python range of axes that a Reshape replaces (stored column-major: begin and end change places)."""

    def position(axis: AxisValue) -> int:
        index = axis.static_axis_idx
        return index if index >= 0 else rank + 1 + index if index < -1 else rank

    begin = position(attributes["beginAxis"]) if "beginAxis" in attributes else 0
    end = position(attributes["endAxis"]) if "endAxis" in attributes else rank
    return rank - min(end, rank), rank - begin


def _batch_normalization(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    shape = x[:1] if attributes["spatial"] else (math.prod(x),)
    for variable in inputs[1:5]:
        if isinstance(variable, _Stored) and INFERRED in variable.shape:
            variable.set_inferred_shape(shape)
    return x


_RULES: dict[Op, Callable[[Op, Sequence[Variable], Attributes], ShapeOrUnknown]] = {
    **dict.fromkeys(ELEMENTWISE_UNARY, lambda op, inputs, attributes: inputs[0]._shape),
    **dict.fromkeys(ELEMENTWISE_BINARY, _elementwise),
    Op.Times: _times,
    Op.TransposeTimes: _transpose_times,
    Op.Convolution: _convolution,
    Op.Pooling: _pooling,
    Op.ReduceElements: _reduce,
    Op.Reshape: _reshape,
    Op.BatchNormalization: _batch_normalization,
}


def check_data_types(op: Op, inputs: Sequence[Variable], known: Sequence[Variable]) -> None:
    """All operands of a primitive must be float32 or all float64."""
    different = next((v for v in known if v._dtype != known[0]._dtype), None)
    if different is not None:
        names = ", ".join(repr(v) for v in inputs)
        first, second = ("Double" if v._dtype == np.float64 else "Float" for v in (known[0], different))
        raise ValueError(
            f"Primitive op '{op.name}' passed operands '{names}' with different DataTypes '{first}' and "
            f"'{second}'."
        )


def infer_output(
    op: Op, inputs: Sequence[Variable], attributes: Attributes
) -> tuple[ShapeOrUnknown, tuple[Axis, ...]]:
    """(shape, dynamic axes) of the one output of a primitive."""
    rule = _RULES.get(op)
    if rule is None:
        raise unavailable(f"the operation {op.name} (code {int(op)})")
    # A placeholder takes the type of what replaces it.
    check_data_types(op, inputs, [v for v in inputs if v._shape is not None and not v.is_placeholder])
    axes = merge_dynamic_axes(inputs)
    if op is Op.ReduceElements and attributes.get("axis", AxisValue(0, "", True)).static_axis_idx == ALL_AXES:
        axes = ()
    return rule(op, inputs, attributes), axes


__all__ = ["ELEMENTWISE_BINARY", "ELEMENTWISE_UNARY", "SizeT", "infer_output"]
