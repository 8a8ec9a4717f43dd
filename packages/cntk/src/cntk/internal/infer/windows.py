"""Shapes of convolutions, pooling and what undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...variables import FREE, INFERRED, ShapeOrUnknown, Variable, _Stored
from ..geometry import Window, window
from ..missing import unavailable
from ..opcodes import Op
from ..proto import FREE_DIMENSION, Shape
from .values import Attributes, expand


def convolution(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    weight, data = inputs
    x, w = data._shape, weight._shape
    if attributes.get("sequential"):
        raise unavailable("sequential convolution in one operation")
    if x is None or w is None:
        return None
    if len(w) == len(x) > 1 and w[0] != INFERRED:
        w = (1, *w)  # one map, whose axis is not written
    if len(w) != len(x) + 1:
        raise ValueError("Convolution map tensor must have rank 1 or the same as the input tensor.")
    if INFERRED in x:
        return None
    transpose = bool(attributes.get("transpose"))
    groups = int(attributes.get("groups", 1))
    if INFERRED in w and isinstance(weight, _Stored):
        w = (x[0], *w[1:]) if transpose else (w[0], x[0] // groups, *w[2:])
        weight.set_inferred_shape(w)
    if groups != 1 and w[1] * groups != x[0]:
        raise RuntimeError(
            "groups: number of input channels (C) must be equal to number of input kernel channels (kC) * "
            "groups (G)."
        )
    channels = w[0] if transpose else w[1]
    if channels != x[0] and groups == 1:
        raise ValueError(f"Convolution operation requires that kernel dim {channels} <= input dim {x[0]}.")
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
        values = expand(attributes[key], rank)
        attributes[key] = [*values, *([False] * (rank - len(values)))]
    for key in ("lowerPad", "upperPad"):
        attributes[key] = Shape(expand(attributes.get(key) or (0,), rank))
    if transpose:
        return (w[1], *transposed_sizes(x[1:], w[2:], attributes))
    # An axis whose size only the data says: any size that fits stands for it here.
    known = [k * 2 if n == FREE else n for n, k in zip(x[1:], w[2:], strict=True)]
    sizes = [win.out for win in convolution_windows(known, w[2:], attributes)]
    return (w[0], *(FREE if n == FREE else size for n, size in zip(x[1:], sizes, strict=True)))


def sequence_shape(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return inputs[1]._shape


def _axis_values(attributes: Attributes, key: str, rank: int) -> list[Any]:
    return list(reversed(list(attributes[key])[:rank]))


def convolution_windows(
    spatial: Sequence[int], kernel: Sequence[int], attributes: Attributes
) -> list[Window]:
    """The windows of a convolution, in Python order of the spatial axes."""
    rank = len(spatial)
    keys = ("strides", "dilation", "autoPadding", "lowerPad", "upperPad")
    return [
        window(n, (k - 1) * d + 1, s, auto, low, high)
        for n, k, s, d, auto, low, high in zip(
            spatial, kernel, *(_axis_values(attributes, key, rank) for key in keys), strict=True
        )
    ]


def transposed_sizes(spatial: Sequence[int], kernel: Sequence[int], attributes: Attributes) -> list[int]:
    """The result's spatial axes: those asked for, or the smallest (largest without padding) that the
    convolution back would bring to the operand's."""
    rank = len(spatial)
    wanted = [int(dim) for dim in attributes.get("outputShape") or (0,)]
    if any(wanted):
        return list(reversed(wanted[:rank]))
    return [
        (n - 1) * s + 1 if auto else (n - 1) * s + (k - 1) * d + 1 - low - high
        for n, k, s, d, auto, low, high in zip(
            spatial,
            kernel,
            *(
                _axis_values(attributes, key, rank)
                for key in ("strides", "dilation", "autoPadding", "lowerPad", "upperPad")
            ),
            strict=True,
        )
    ]


def transposed_windows(spatial: Sequence[int], kernel: Sequence[int], attributes: Attributes) -> list[Window]:
    """How many cells to cut off the full result of a transposed convolution, at both ends of each axis."""
    rank = len(spatial)
    keys = ("strides", "dilation", "autoPadding", "lowerPad")
    result = []
    for n, k, s, d, auto, low, size in zip(
        spatial,
        kernel,
        *(_axis_values(attributes, key, rank) for key in keys),
        transposed_sizes(spatial, kernel, attributes),
        strict=True,
    ):
        width = (k - 1) * d + 1
        full = (n - 1) * s + width
        # Where the first window of the convolution back begins, by the rule of automatic padding.
        start = (size - 1 - (n - 1) * s) // 2 - (width - 1) // 2 if auto else -low
        result.append(Window(size, -start, full + start - size))
    return result


def pooling_windows(x: Sequence[int], attributes: Attributes) -> tuple[list[int], list[int], list[Window]]:
    """(kernel, strides, windows) of a pooling, in Python order of the pooled (trailing) axes."""
    kernel = list(attributes["poolingWindowShape"])
    rank = len(kernel)
    if kernel == [FREE_DIMENSION]:
        # Everything behind the channels.
        kernel = list(reversed(x[1:]))
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


def pooling(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None or INFERRED in x:
        return None
    kernel, _, windows = pooling_windows(x, attributes)
    return (*x[: len(x) - len(kernel)], *(win.out for win in windows))


def unpooling(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return inputs[1]._shape


def roi_pooling(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x, rois = inputs[0]._shape, inputs[1]._shape
    if x is None or rois is None:
        return None
    return (rois[0], x[0], *(int(dim) for dim in reversed(attributes["roiOutputShape"])))


RULES = {
    Op.Convolution: convolution,
    Op.Pooling: pooling,
    Op.Unpooling: unpooling,
    Op.ROIPooling: roi_pooling,
    Op.ConvolutionSequenceShape: sequence_shape,
}
