"""Operations on shapes: reshaping, slicing, joining, picking."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

from ..axis import Axis
from ..internal.infer.values import ALL_STATIC_AXES, stored_axis, value_of
from ..internal.opcodes import Op
from ..internal.proto import INFERRED_DIMENSION, AxisValue, Shape, SizeT
from ..variables import is_scalar, sanitize_shape
from .construction import primitive
from .graph_ops import combine
from .nodes import CompositeFunction
from .tracing import make_block, to_variable

CONSTANT_PAD = 0
REFLECT_PAD = 1
SYMMETRIC_PAD = 2


def sanitize_axis(axis: Any) -> AxisValue:
    """A Python axis (a number, an Axis, None for all static axes) as it is stored."""
    if axis is None:
        return AxisValue(ALL_STATIC_AXES, "AllStaticAxes", False)
    if isinstance(axis, Axis):
        if axis.is_static_axis and axis.static_axis_index() not in (ALL_STATIC_AXES, ALL_STATIC_AXES - 3):
            return stored_axis(axis.static_axis_index())
        return value_of(axis)
    return stored_axis(int(axis))


def _position(axis: Any, default: int) -> AxisValue:
    """A boundary between axes, as Reshape stores it (begin and end change places)."""
    if axis is None or axis == Axis.new_leading_axis():
        # The far end of the axes, as CNTK counts them.
        return AxisValue(
            default if axis is None else 0, f"staticAxisIdx={default if axis is None else 0}", True
        )
    index = axis.static_axis_index() if isinstance(axis, Axis) else int(axis)
    stored = -1 - index if index >= 0 else -index
    return AxisValue(stored, f"staticAxisIdx={stored}", True)


def reshape(
    x: Any, shape: Any, begin_axis: Any = None, end_axis: Any = None, name: str = ""
) -> CompositeFunction:
    """The same elements in another shape (of the axes from begin to end); one dimension may be -1."""
    stored = [INFERRED_DIMENSION if dim == -1 else dim for dim in reversed(sanitize_shape(shape))]
    attributes = {
        "newShape": Shape(stored),
        "beginAxis": _position(end_axis, 0),
        "endAxis": _position(begin_axis, -1),
    }
    return primitive(Op.Reshape, [x], attributes, name)


def transpose(x: Any, perm: Any, name: str = "") -> CompositeFunction:
    """The axes in another order."""
    order = [int(p) for p in perm]
    rank = len(order)
    positions = [p + rank if p < 0 else p for p in order]
    if any(not 0 <= p < rank for p in positions):
        raise ValueError("invalid permutation element: elements must be from {-len(perm), ..., len(perm)-1}")
    if len(set(positions)) != rank:
        raise ValueError("duplicate item in permutation")
    # Stored column-major: both the order of the list and what it names are reversed.
    stored = [rank - 1 - p for p in reversed(positions)]
    axes = [AxisValue(p, f"staticAxisIdx={p}", True) for p in stored]
    return primitive(Op.TransposeAxes, [x], {"axisVec": axes}, name)


def swapaxes(x: Any, axis1: Any = 0, axis2: Any = 1, name: str = "") -> CompositeFunction:
    attributes = {"axis1": sanitize_axis(axis1), "axis2": sanitize_axis(axis2)}
    return primitive(Op.TransposeAxes, [x], attributes, name)


def slice(
    x: Any, axis: Any, begin_index: Any, end_index: Any, strides: Any = None, name: str = ""
) -> CompositeFunction:
    """The part of x from begin to end (0 is the end of the axis) along one axis or several."""
    axes = [axis] if is_scalar(axis) or isinstance(axis, Axis) else list(axis)
    begins = [begin_index] if is_scalar(begin_index) else list(begin_index)
    ends = [end_index] if is_scalar(end_index) else list(end_index)
    steps = [1] * len(axes) if strides is None else [strides] if is_scalar(strides) else list(strides)
    stored = [sanitize_axis(a) for a in axes]
    if len(axes) == 1:
        attributes: dict[str, Any] = {
            "axis": stored[0],
            "beginIndex": int(begins[0]),
            "endIndex": int(ends[0]),
            "sliceStrides": int(steps[0]),
        }
    else:
        attributes = {
            "axisVec": stored,
            "beginIndexVec": [int(v) for v in begins],
            "endIndexVec": [int(v) for v in ends],
            "sliceStridesVec": [int(v) for v in steps],
        }
    return primitive(Op.Slice, [x], attributes, name)


def getitem(x: Any, key: Any) -> Any:
    """`x[key]`: numbers, slices, an ellipsis and lists of numbers, one after the other over the axes."""
    keys = list(key) if isinstance(key, tuple) else [key]
    rank = len(to_variable(x).shape)
    if Ellipsis in [k for k in keys if k is Ellipsis]:
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [None] * (rank - len(keys) + 1)
    result = x
    for axis, part in enumerate(keys):
        if part is None:
            continue
        if isinstance(part, builtins.slice):
            begin = 0 if part.start is None else part.start
            end = 0 if part.stop is None else part.stop
            step = 1 if part.step is None else part.step
            result = slice(result, axis, begin, end, step)
        elif isinstance(part, (tuple, list)):
            picked = [slice(result, axis, int(i), int(i) + 1) for i in part]
            result = splice(*picked, axis=axis)
        else:
            result = slice(result, axis, int(part), int(part) + 1)
    return result


def splice(*inputs: Any, axis: Any = -1, name: str = "") -> CompositeFunction:
    """The inputs joined along an axis; -1 is the last one, and one before the first makes a new axis."""
    if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
        inputs = tuple(inputs[0])
    if axis == Axis.new_leading_axis():
        axis = -1 - max(len(to_variable(v).shape) for v in inputs)
    return primitive(Op.Splice, list(inputs), {"axis": sanitize_axis(axis)}, name)


def pad(
    x: Any, pattern: Sequence[tuple[int, int]], mode: int = CONSTANT_PAD, constant_value: float = 0,
    name: str = "",
) -> CompositeFunction:  # fmt: skip
    """More cells before and behind along each axis."""
    if any(len(pair) != 2 for pair in pattern):
        raise ValueError("padding pattern should be a integer list with shape [n, 2]")
    attributes = {
        "paddingMode": SizeT(mode),
        "paddingHead": [SizeT(head) for head, _ in reversed(list(pattern))],
        "paddingFoot": [SizeT(foot) for _, foot in reversed(list(pattern))],
        "paddingConstantValue": float(constant_value),
    }
    return primitive(Op.Pad, [x], attributes, name)


def expand_dims(x: Any, axis: Any, name: str = "") -> CompositeFunction:
    """A unit axis in x's shape."""
    stored = sanitize_axis(axis)

    def body(v: Any) -> CompositeFunction:
        index = stored.static_axis_idx
        rank = len(v.shape)
        if index < 0 and v._shape is not None:
            index += rank
            if not 0 <= index <= rank:
                raise ValueError(
                    f"Axis 'Axis('staticAxisIdx={stored.static_axis_idx}')' is out of bounds for the rank "
                    f"'{rank}' it applies to."
                )
        where = AxisValue(index, f"staticAxisIdx={index}", True)
        attributes = {"newShape": Shape([1]), "beginAxis": where, "endAxis": where}
        return primitive(Op.Reshape, [v], attributes)

    return make_block("ExpandDims", body, [x], name)


def flatten(x: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    """A matrix: the axes before `axis` are its rows, the others its columns."""
    shape = to_variable(x).shape
    if axis is None:
        split = 0
    elif isinstance(axis, Axis):
        split = axis.static_axis_index()
    else:
        split = int(axis)
    # -1 is the end of the axes, -2 before the last one.
    split = split + len(shape) + 1 if split < 0 else split
    if not 0 <= split <= len(shape):
        raise ValueError(
            f"Axis 'Axis('staticAxisIdx={-1 - split}')' is out of bounds for the rank '{len(shape)}' it "
            "applies to."
        )
    rows, columns = math.prod(shape[:split]), math.prod(shape[split:])
    return make_block("Flatten", lambda v: reshape(v, (rows, columns)), [x], name)


def squeeze(x: Any, axes: Any = None, name: str = "") -> CompositeFunction:
    """Without the unit axes (all, or those given)."""
    if axes is None:
        return primitive(Op.Squeeze, [x], {}, name)
    given = [axes] if is_scalar(axes) or isinstance(axes, Axis) else list(axes)
    return primitive(Op.Squeeze, [x], {"axisVec": [sanitize_axis(a) for a in given]}, name)


def one_hot(
    x: Any, num_classes: int, sparse_output: bool = False, axis: Any = -1, name: str = ""
) -> CompositeFunction:
    """Vectors of 0 with a 1 at the index, along a new axis."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError("in method 'one_hot_op', argument 2 of type 'size_t'")
    attributes = {
        "numClass": SizeT(num_classes),
        "oneHotOutputSparse": bool(sparse_output),
        "onehotAxis": sanitize_axis(axis),
    }
    return primitive(Op.OneHot, [x], attributes, name)


def gather(reference: Any, indices: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    """The slices of `reference` (along its first axis, or `axis`) at the indices."""
    if axis is None:
        return primitive(Op.Gather, [indices, reference], name=name)
    rank = len(to_variable(reference).shape)
    where = axis.static_axis_index() if isinstance(axis, Axis) else int(axis)
    where = where + rank if where < 0 else where
    index_rank = len(to_variable(indices).shape)

    def body(i: Any, r: Any) -> CompositeFunction:
        front = [where, *(a for a in range(rank) if a != where)]
        picked = primitive(Op.Gather, [i, transpose(r, front)])
        # [*indices, *others] -> others before the axis, indices, others behind it
        back = [*range(index_rank, index_rank + where), *range(index_rank),
                *range(index_rank + where, index_rank + rank - 1)]  # fmt: skip
        return transpose(picked, back)

    return make_block("GatherOp", body, [indices, reference], name)


def top_k(x: Any, k: int, axis: Any = -1, name: str = "") -> CompositeFunction:
    """The k largest values along an axis, and their indices."""

    def along_last(v: Any) -> CompositeFunction:
        return primitive(Op.TopK, [v], {"axis": sanitize_axis(-1), "numItems": SizeT(k)})

    where = axis.static_axis_index() if isinstance(axis, Axis) else int(axis)
    if where == -1:
        attributes = {"axis": sanitize_axis(-1), "numItems": SizeT(k)}
        return primitive(Op.TopK, [x], attributes, name)

    def along_axis(v: Any) -> CompositeFunction:
        found = along_last(swapaxes(v, where, -1))
        return combine([swapaxes(part, where, -1) for part in found.outputs])

    return make_block("TopK", along_axis, [x], name)


def depth_to_space(operand: Any, block_size: int, name: str = "") -> CompositeFunction:
    """Channels in groups of block_size^2 become blocks of pixels."""

    def body(x: Any) -> CompositeFunction:
        c, h, w = x.shape
        parts = reshape(x, (block_size, block_size, c // block_size**2, h, w))
        moved = transpose(parts, (2, 3, 0, 4, 1))
        return reshape(moved, (c // block_size**2, h * block_size, w * block_size))

    return make_block("DepthToSpace", body, [operand], name, {"blockSize": SizeT(block_size)})


def space_to_depth(operand: Any, block_size: int, name: str = "") -> CompositeFunction:
    """Blocks of pixels become channels."""

    def body(x: Any) -> CompositeFunction:
        c, h, w = x.shape
        parts = reshape(x, (c, h // block_size, block_size, w // block_size, block_size))
        moved = transpose(parts, (2, 4, 0, 1, 3))
        return reshape(moved, (c * block_size**2, h // block_size, w // block_size))

    return make_block("SpaceToDepth", body, [operand], name, {"blockSize": SizeT(block_size)})


def crop_manual(
    node_input: Any, node_referent: Any, offset_x: int, offset_y: int, name: str = ""
) -> CompositeFunction:
    """The part of an image of the referent's size, at an offset."""
    attributes = {"offset": [SizeT(offset_x), SizeT(offset_y)]}
    return primitive(Op.Crop, [node_input, node_referent], attributes, name)


def to_batch(x: Any, name: str = "") -> CompositeFunction:
    """The first axis becomes the batch axis."""
    return primitive(Op.ToBatch, [x], {}, name)


def unpack_batch(x: Any, name: str = "") -> CompositeFunction:
    """The batch axis becomes a first static axis, whose size only the data says."""
    return primitive(Op.UnpackBatch, [x], {}, name)


def to_sequence(
    x: Any, sequence_lengths: Any = None, sequence_axis_name_prefix: str = "toSequence_", name: str = ""
) -> CompositeFunction:
    """The first axis becomes a sequence axis."""
    operands = [x] if sequence_lengths is None else [x, sequence_lengths]
    attributes = {"newDynamicAxes": [AxisValue(2**31 - 1, sequence_axis_name_prefix, True)]}
    return primitive(Op.ToSequence, operands, attributes, name)


def to_sequence_like(x: Any, dynamic_axes_like: Any, name: str = "") -> CompositeFunction:
    """The first axis becomes the sequence axis of another tensor."""
    return primitive(Op.ToSequenceLike, [x, dynamic_axes_like], {}, name)


__all__ = [
    "CONSTANT_PAD", "REFLECT_PAD", "SYMMETRIC_PAD", "crop_manual", "depth_to_space", "expand_dims", "flatten",
    "gather", "one_hot", "pad", "reshape", "slice", "space_to_depth", "splice", "squeeze", "swapaxes",
    "to_batch", "to_sequence", "to_sequence_like", "top_k", "transpose", "unpack_batch",
]  # fmt: skip
