"""Convolutions, transposed convolutions, pooling and what undoes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from ...variables import FREE, Variable
from ..geometry import Window
from ..infer.windows import convolution_windows, pooling_windows, transposed_windows
from ..missing import unavailable
from ..opcodes import Op
from .node import Kernel, Node, per_sample


def _simple_padding(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], windows: Sequence[Window]
) -> bool:
    """Whether torch's own symmetric padding places the same windows."""
    return all(
        0 <= win.low <= k // 2 and (n + 2 * win.low - k) // s + 1 == win.out
        for n, k, s, win in zip(sizes, kernel, strides, windows, strict=True)
    )


def _pad_spec(windows: Sequence[Window]) -> list[int]:
    return [size for win in reversed(windows) for size in (win.low, win.high)]


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Lay images out channels-last, also where one channel makes the strides ambiguous."""
    if x.shape[1] == 1:
        n, c, h, w = x.shape
        x = x.contiguous()
        return x.as_strided((n, c, h, w), (h * w * c, 1, w * c, c))
    return x.contiguous(memory_format=torch.channels_last)


def _spatial(attributes: dict[str, Any], key: str, rank: int) -> list[int]:
    return list(reversed(attributes[key][:rank]))


def _no_channel_padding(node: Node, rank: int) -> None:
    auto = list(node.attributes["autoPadding"])
    if len(auto) > rank and auto[rank]:
        owner = node.result.owner
        raise RuntimeError(
            f"{owner.uid if owner else ''} Convolution operation: detected padding over channel axis. This "
            "is not supported in cuDnn. Please try setting autoPadding to false for channel axis. "
        )


def convolution(node: Node) -> Kernel:
    """(weight, x[, bias of shape (K,1,1)]) -> feature maps."""
    if node.attributes.get("transpose"):
        return _transposed(node)
    weight, data = node.operands
    attributes = node.attributes
    x_shape, w_shape = data.shape, weight.shape
    rank = len(x_shape) - 1
    if rank not in (1, 2, 3):
        raise unavailable(f"convolution over {rank} spatial axes")
    if len(w_shape) == len(x_shape):
        return _one_map(node)
    _no_channel_padding(node, rank)
    if FREE in x_shape:
        return _over_free_axes(node)
    strides = _spatial(attributes, "strides", rank)
    dilation = _spatial(attributes, "dilation", rank)
    windows = convolution_windows(x_shape[1:], w_shape[2:], attributes)
    groups = int(attributes.get("groups", 1))
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    kernel = [(k - 1) * d + 1 for k, d in zip(w_shape[2:], dilation, strict=True)]
    simple = _simple_padding(x_shape[1:], kernel, strides, windows)
    padding = [win.low for win in windows] if simple else 0
    pad = None if simple else _pad_spec(windows)
    image = rank == 2
    lead = node.leads[1]

    def run(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        before = x.shape[:lead]
        if lead != 1:
            x = x.reshape(-1, *x_shape)
        if pad is not None:
            x = F.pad(x, pad)
        if image:
            x = channels_last(x)
        y = function(x, w, None if b is None else b.reshape(-1), strides, padding, dilation, groups)
        return y if lead == 1 else y.reshape(*before, *y.shape[1:])

    return run


def _one_map(node: Node) -> Kernel:
    """With a kernel that has no axis for its one map."""
    weight, data = node.operands
    attributes = dict(node.attributes)
    if weight.shape[0] == 1:  # padding over an axis that is one cell wide adds nothing
        attributes["autoPadding"] = [*list(attributes["autoPadding"])[:-1], False]
    whole = Variable((1, *weight.shape), weight._dtype)
    inner = convolution(replace(node, operands=[whole, data], attributes=attributes))
    return lambda w, x, *bias: inner(w.unsqueeze(0), x, *bias)


def _over_free_axes(node: Node) -> Kernel:
    """A convolution over axes whose sizes only the data says: one kernel per size."""
    weight, data = node.operands
    kernels: dict[tuple[int, ...], Kernel] = {}
    lead = node.leads[1]

    def run(w: torch.Tensor, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        shape = tuple(x.shape[lead:])
        if shape not in kernels:
            sized = Variable(shape, data._dtype, dynamic_axes=data.dynamic_axes)
            kernels[shape] = convolution(replace(node, operands=[weight, sized]))
        result: torch.Tensor = kernels[shape](w, x, *rest)
        return result

    return run


def sequence_shape(node: Node) -> Kernel:
    """The lengths that sequences have after a convolution over them."""
    weight = node.operands[0]
    attributes = node.attributes
    rank = len(weight.shape) - 2
    first = {key: list(attributes[key])[:rank][-1] for key in ("strides", "dilation", "autoPadding")}
    width = (weight.shape[2] - 1) * int(first["dilation"]) + 1

    def run(w: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        step = int(first["strides"])
        if first["autoPadding"]:
            return torch.ceil(lengths / step)
        return torch.floor((lengths - width) / step) + 1

    return run


def _transposed(node: Node) -> Kernel:
    """The gradient of a convolution as an operation of its own; weights are (in, out, *window)."""
    weight, data = node.operands
    x_shape, w_shape = data.shape, weight.shape
    rank = len(x_shape) - 1
    if rank not in (1, 2, 3):
        raise unavailable(f"transposed convolution over {rank} spatial axes")
    strides = _spatial(node.attributes, "strides", rank)
    dilation = _spatial(node.attributes, "dilation", rank)
    windows = transposed_windows(x_shape[1:], w_shape[2:], node.attributes)
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    pad = [-size for win in reversed(windows) for size in (win.low, win.high)]

    def run(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        y = function(x, w, None, strides, 0, 0, 1, dilation)
        return F.pad(y, pad) if any(pad) else y

    return per_sample(node, run, 1)


def pooling(node: Node) -> Kernel:
    attributes = node.attributes
    shape = node.operands[0].shape
    kernel, strides, windows = pooling_windows(shape, attributes)
    rank = len(kernel)
    if rank not in (1, 2, 3):
        raise unavailable(f"pooling over {rank} axes")
    spatial = shape[len(shape) - rank :]
    channels = math.prod(shape[: len(shape) - rank])
    is_max = int(attributes["poolingType"]) == 0
    include_pad = bool(attributes.get("includePad", False))
    simple = _simple_padding(spatial, kernel, strides, windows)
    padding = [win.low for win in windows]
    pad = _pad_spec(windows)
    reshape = len(shape) != rank + 1 or node.leads[0] != 1
    result = node.result.shape
    max_pool: Kernel = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    average_pool: Kernel = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]

    counts = torch.ones(())
    for n, k, s, win in zip(spatial, kernel, strides, windows, strict=True):
        starts = [i * s - win.low for i in range(win.out)]
        real = torch.tensor([float(min(start + k, n) - max(start, 0)) for start in starts])
        counts = counts.unsqueeze(-1) * real

    def pool(x: torch.Tensor) -> torch.Tensor:
        if is_max:
            if simple:
                return max_pool(x, kernel, strides, padding)  # type: ignore[no-any-return]
            return max_pool(F.pad(x, pad, value=-math.inf), kernel, strides)  # type: ignore[no-any-return]
        if simple:
            mean: torch.Tensor = average_pool(x, kernel, strides, padding, count_include_pad=include_pad)
            return mean
        nonlocal counts
        counts = counts.to(x)  # moves once
        mean = average_pool(F.pad(x, pad), kernel, strides)
        return mean if include_pad else mean * (math.prod(kernel) / counts)

    if not reshape:
        return pool
    lead = node.leads[0]

    def reshaped(x: torch.Tensor) -> torch.Tensor:
        return pool(x.reshape(-1, channels, *spatial)).reshape(*x.shape[:lead], *result)

    return reshaped


def unpooling(node: Node) -> Kernel:
    """Every value goes to the cell where the maximum of its window was; the rest is zero."""
    attributes = node.attributes
    shape = node.operands[1].shape
    pooled_shape = node.operands[0].shape
    kernel, strides, windows = pooling_windows(
        shape, {**attributes, "poolingWindowShape": attributes["unpoolingWindowShape"]}
    )
    rank = len(kernel)
    if rank not in (1, 2, 3):
        raise unavailable(f"unpooling over {rank} axes")
    spatial = shape[len(shape) - rank :]
    pooled = pooled_shape[len(shape) - rank :]
    pad = _pad_spec(windows)
    padded = [n + win.low + win.high for n, win in zip(spatial, windows, strict=True)]
    max_pool: Kernel = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    crop = [-size for size in pad]
    lead = node.lead

    def run(values: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        before = source.shape[:lead]
        rows = source.detach().reshape(-1, 1, *spatial)
        _, indices = max_pool(F.pad(rows, pad, value=-math.inf), kernel, strides, return_indices=True)
        flat = values.new_zeros((len(rows), math.prod(padded)))
        flat = flat.scatter_add(1, indices.flatten(1), values.reshape(len(rows), math.prod(pooled)))
        y = F.pad(flat.reshape(len(rows), 1, *padded), crop)
        return y.reshape(*before, *shape)

    return run


def roi_pooling(node: Node) -> Kernel:
    """The maximum (or mean) of a grid of windows in each region (x1, y1, x2, y2) of an image."""
    attributes = node.attributes
    columns, rows = (int(v) for v in attributes["roiOutputShape"])
    scale = float(attributes["spatialScale"])
    is_max = int(attributes["poolingType"]) == 0

    def cells(start: int, end: int, count: int, limit: int) -> list[tuple[int, int]]:
        size = max(end - start + 1, 1) / count
        edges = [(math.floor(i * size) + start, math.ceil((i + 1) * size) + start) for i in range(count)]
        return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]

    def region(image: torch.Tensor, roi: Sequence[float]) -> torch.Tensor:
        x1, y1, x2, y2 = (math.floor(v * scale + 0.5) for v in roi)
        across = cells(x1, x2, columns, image.shape[2])
        down = cells(y1, y2, rows, image.shape[1])
        empty = image.new_zeros(image.shape[0])

        def cell(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
            part = image[:, top:bottom, left:right]
            if part.numel() == 0:
                return empty
            return part.amax((1, 2)) if is_max else part.mean((1, 2))

        grid = [[cell(top, bottom, left, right) for left, right in across] for top, bottom in down]
        return torch.stack([torch.stack(line, -1) for line in grid], -2)

    def run(x: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [
                torch.stack([region(image, roi) for roi in of_image])
                for image, of_image in zip(x, rois.tolist(), strict=True)
            ]
        )

    return run


BUILDERS: dict[Op, Any] = {
    Op.Convolution: convolution,
    Op.Pooling: pooling,
    Op.Unpooling: unpooling,
    Op.ROIPooling: roi_pooling,
    Op.ConvolutionSequenceShape: sequence_shape,
}
