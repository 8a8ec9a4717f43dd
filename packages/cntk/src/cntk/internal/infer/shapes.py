"""Shapes of operations that move, take or join elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...variables import FREE, INFERRED, ShapeOrUnknown, Variable, shape_text
from ..opcodes import Op
from ..proto import INFERRED_DIMENSION, AxisValue
from .values import ALL_STATIC_AXES, Attributes, out_of_bounds, python_axis


def reshape(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    begin, end = reshape_range(attributes, len(x))
    old = x[begin:end]
    new = [INFERRED if dim == INFERRED_DIMENSION else int(dim) for dim in reversed(attributes["newShape"])]
    if FREE in old:
        # Only the data says how many there are: -1 takes the free axis.
        return (*x[:begin], *(FREE if dim == INFERRED else dim for dim in new), *x[end:])
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
    """The Python range of axes that a Reshape replaces (stored column-major: begin and end change places).

    A stored -1 is the end of the axes; other negative positions count back from there.
    """

    def position(axis: AxisValue) -> int:
        index = axis.static_axis_idx
        where = index if index >= 0 else rank + 1 + index
        if not 0 <= where <= rank:
            raise out_of_bounds(axis, rank)
        return where

    begin = position(attributes["beginAxis"]) if "beginAxis" in attributes else 0
    end = position(attributes["endAxis"]) if "endAxis" in attributes else rank
    return rank - min(end, rank), rank - begin


def permutation(attributes: Attributes, rank: int) -> list[int]:
    """The Python order of axes after a TransposeAxes."""
    if "axisVec" in attributes:
        stored = [axis.static_axis_idx % rank for axis in attributes["axisVec"]]
        if sorted(stored) != list(range(rank)):
            raise ValueError("Permutation: the permutation must contain every axis of the operand once.")
        return [rank - 1 - axis for axis in reversed(stored)]
    order = list(range(rank))
    first, second = (python_axis(attributes[key], rank) for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return order


def transpose(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    return None if x is None else tuple(x[axis] for axis in permutation(attributes, len(x)))


def slice_ranges(attributes: Attributes, x: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(axis, begin, end, step) of each sliced axis; the end 0 is the axis's end."""
    if "axisVec" in attributes:
        parts: list[tuple[Any, ...]] = list(
            zip(
                attributes["axisVec"],
                attributes["beginIndexVec"],
                attributes["endIndexVec"],
                attributes["sliceStridesVec"],
                strict=True,
            )
        )
    else:
        step = attributes.get("sliceStrides", 1)
        parts = [(attributes["axis"], attributes["beginIndex"], attributes["endIndex"], step)]
    ranges = []
    for axis, begin, end, step in parts:
        where = python_axis(axis, len(x))
        size = x[where]
        if size == FREE:
            ranges.append((where, int(begin), int(end) if end > 0 else FREE, int(step)))
            continue
        first = begin + size if begin < 0 else begin
        last = end + size if end <= 0 else end
        if not 0 <= first < last <= size:
            raise SliceRangeError(int(begin), int(end), int(first), int(last))
        ranges.append((where, int(first), int(last), int(step)))
    return ranges


class SliceRangeError(Exception):
    """A slice of cells that are not there; becomes CNTK's error once the function can be named."""

    def __init__(self, begin: int, end: int, first: int, last: int):
        super().__init__(begin, end, first, last)
        self.text = (
            f"Slice operation index range [{begin},{end}), interpreted as [{first},{last}), is invalid"
        )


def slice_(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    result = list(x)
    for axis, begin, end, step in slice_ranges(attributes, x):
        result[axis] = FREE if end == FREE else -(-(end - begin) // abs(step))
    return tuple(result)


def splice_axis(attributes: Attributes, shapes: Sequence[tuple[int, ...]]) -> int:
    """The Python index of the joined axis in the result, which may be a new leading one."""
    rank = max(len(shape) for shape in shapes)
    index = attributes["axis"].static_axis_idx
    if index < 0:
        index += rank
    rank = max(rank, index + 1)
    return int(rank - 1 - index)


def splice(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    shapes = [v._shape for v in inputs if v._shape is not None]
    if len(shapes) != len(inputs):
        return None
    stored = attributes["axis"].static_axis_idx
    rank = max(*(len(shape) for shape in shapes), stored + 1)
    where = splice_axis(attributes, shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    dims: list[int] = []
    for axis in range(rank):
        sizes = [shape[axis] for shape in padded]
        if axis == where:
            dims.append(INFERRED if INFERRED in sizes else FREE if FREE in sizes else sum(sizes))
            continue
        size = sizes[0]
        for i, other in enumerate(sizes[1:], 1):
            if INFERRED in (other, size) or FREE in (other, size):
                size = max(other, size)
                continue
            if other != size and 1 not in (other, size):
                raise ValueError(
                    f"Splice: Conflicting dimensionality of axis {rank - 1 - axis} between operand #{i} "
                    f"({other}) and other(s) ({size})."
                )
            size = max(size, other)
        dims.append(size)
    return tuple(dims)


def pad(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    head, foot = (list(reversed(attributes[key])) for key in ("paddingHead", "paddingFoot"))
    if len(head) != len(x) or len(foot) != len(x):
        raise RuntimeError("Pad: the length of head and foot does not match input operand's dimension.")
    return tuple(int(h) + dim + int(f) for h, dim, f in zip(head, x, foot, strict=True))


def one_hot(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    axis = python_axis(attributes["onehotAxis"], len(x) + 1)
    return (*x[:axis], int(attributes["numClass"]), *x[axis:])


def gather(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    indices, reference = inputs[0]._shape, inputs[1]._shape
    return None if indices is None or reference is None else indices + reference[1:]


def top_k(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    axis = python_axis(attributes["axis"], len(x))
    return (*x[:axis], int(attributes["numItems"]), *x[axis + 1 :])


def squeeze(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    stored = attributes.get("axisVec") or ([attributes["axis"]] if "axis" in attributes else [])
    if not stored or stored[0].static_axis_idx == ALL_STATIC_AXES:
        return tuple(dim for dim in x if dim != 1)
    axes = {python_axis(axis, len(x)) for axis in stored}
    for axis in axes:
        if x[axis] != 1:
            raise RuntimeError(
                f"Squeeze: cannot squeeze a static axis whose dimension (={x[axis]}) is not 1."
            )
    return tuple(dim for i, dim in enumerate(x) if i not in axes)


def crop(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x, like = inputs[0]._shape, inputs[1]._shape
    return None if x is None or like is None else (*x[:-2], *like[-2:])


RULES = {
    Op.Reshape: reshape,
    Op.TransposeAxes: transpose,
    Op.Slice: slice_,
    Op.Splice: splice,
    Op.Pad: pad,
    Op.OneHot: one_hot,
    Op.Gather: gather,
    Op.TopK: top_k,
    Op.Squeeze: squeeze,
    Op.Crop: crop,
}
