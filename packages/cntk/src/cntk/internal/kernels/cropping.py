"""The offset of an automatic crop."""

from __future__ import annotations

import torch

from ...variables import Variable
from ..infer.values import origin
from ..infer.windows import convolution_windows, pooling_windows, transposed_windows
from ..opcodes import Op
from .node import Kernel, Node

Scale = tuple[float, float]  # of both image axes: how many ancestor pixels a pixel is apart
Shift = tuple[float, float]  # and where the first one is
Transform = tuple[Scale, Shift]

_SAME: Transform = ((1.0, 1.0), (0.0, 0.0))


def _step(variable: Variable) -> tuple[Variable, Transform] | None:
    """The image a variable is made from, and where its pixels are in it."""
    owner = variable.owner
    if owner is None:
        return None
    attributes = owner.raw_attributes
    if owner.op in (Op.Convolution, Op.Pooling):
        weight = owner.operands[0] if owner.op is Op.Convolution else None
        source = owner.operands[-1]
        if owner.op is Op.Pooling:
            kernel, strides, windows = pooling_windows(source.shape, attributes)
        else:
            assert weight is not None
            kernel = list(weight.shape[2:])
            strides = list(reversed(attributes["strides"][: len(kernel)]))
            arrange = transposed_windows if attributes.get("transpose") else convolution_windows
            windows = arrange(source.shape[1:], kernel, attributes)
        kernel, strides, windows = kernel[-2:], strides[-2:], windows[-2:]
        scales, shifts = [], []
        for k, s, win in zip(kernel, strides, windows, strict=True):
            middle = (k - 1) // 2 - win.low  # in whole pixels, as CNTK has it
            if attributes.get("transpose"):
                scales.append(1.0 / s)
                shifts.append(-middle / s)
            else:
                scales.append(float(s))
                shifts.append(middle)
        return source, ((scales[0], scales[1]), (shifts[0], shifts[1]))
    images = [v for v in owner.operands if len(v.shape) >= 3]
    return (images[0], _SAME) if images else None


def _chain(variable: Variable) -> list[tuple[Variable, Transform]]:
    """Every image on the way up, with where the pixels are in it."""
    variable = origin(variable)
    scale, shift = _SAME
    found = [(variable, (scale, shift))]
    while True:
        step = _step(variable)
        if step is None:
            return found
        variable, (more, by) = origin(step[0]), step[1]
        shift = (shift[0] * more[0] + by[0], shift[1] * more[1] + by[1])
        scale = (scale[0] * more[0], scale[1] * more[1])
        found.append((variable, (scale, shift)))


def _offset(node: Node) -> tuple[int, int]:
    """(x, y) of the crop."""
    own, other = _chain(node.operands[0]), _chain(node.operands[1])
    ancestors = [origin(v) for v in node.operands[2:4]]
    if ancestors:
        pairs = [(dict(own).get(ancestors[0]), dict(other).get(ancestors[1]))]
    else:
        of_own = dict(own)
        pairs = [(of_own[v], transform) for v, transform in other if v in of_own]
    if not pairs or pairs[0][0] is None or pairs[0][1] is None:
        raise RuntimeError("Crop node: the two inputs have no common ancestor.")
    ((scale, shift), (other_scale, other_shift)) = pairs[0][0], pairs[0][1]
    result = []
    for axis in (1, 0):
        if other_scale[axis] / scale[axis] != 1:
            raise RuntimeError("Composite transform has non 1 scale in crop node.")
        by = (other_shift[axis] - shift[axis]) / scale[axis]
        if by != int(by):
            raise RuntimeError("Composite transform has non integer translation in crop node.")
        if by < 0:
            raise RuntimeError("Composite transform has negative translation in crop node.")
        result.append(int(by))
    return result[0], result[1]


def crop(node: Node) -> Kernel:
    """The part of the first operand of the second one's size, at the offset given or found."""
    given = node.attributes.get("offset")
    x, y = (int(v) for v in given) if given else _offset(node)
    height, width = node.operands[1].shape[-2:]
    if y + height > node.operands[0].shape[-2] or x + width > node.operands[0].shape[-1]:
        raise RuntimeError("Crop node: the cropped area is not inside the input.")

    def run(image: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return image[..., y : y + height, x : x + width]

    return run
