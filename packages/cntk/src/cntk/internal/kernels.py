"""The torch computation of every primitive.

A builder gets the node's static facts once and returns the callable that runs per minibatch.  A value with a
batch axis is a tensor [batch, *shape]; without one it is just [*shape].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ..variables import Constant, Variable
from .geometry import Window
from .infer import convolution_windows, pooling_windows, reduction_axes
from .missing import unavailable
from .opcodes import Op

Kernel = Callable[..., torch.Tensor]


@dataclass
class Node:
    """One operation of a program, with its operands' static facts."""

    op: Op
    operands: Sequence[Variable]
    attributes: dict[str, Any]
    result: Variable
    training: bool

    def batched(self, index: int) -> bool:
        return self.operands[index].has_batch_axis()


def _hardmax(x: torch.Tensor, first: int) -> torch.Tensor:
    flat = x.flatten(first)
    return F.one_hot(flat.argmax(-1), flat.shape[-1]).to(x.dtype).reshape(x.shape)


def _unary(node: Node) -> Kernel:
    # Softmax and Hardmax see one column per sample: all static axes together.
    first = 1 if node.batched(0) else 0
    table: dict[Op, Kernel] = {
        Op.Negate: torch.neg,
        Op.Sigmoid: torch.sigmoid,
        Op.StableSigmoid: torch.sigmoid,
        Op.Tanh: torch.tanh,
        Op.ReLU: torch.relu,
        Op.Exp: torch.exp,
        Op.Log: torch.log,
        Op.Sqrt: torch.sqrt,
        Op.Floor: torch.floor,
        Op.Abs: torch.abs,
        Op.Reciprocal: torch.reciprocal,
        Op.Sin: torch.sin,
        Op.Cos: torch.cos,
        Op.NoOp: lambda x: x,
        Op.Pass: lambda x: x,
        Op.StopGradient: torch.Tensor.detach,
        Op.Softmax: lambda x: torch.softmax(x.flatten(first), -1).reshape(x.shape),
        Op.LogSoftmax: lambda x: torch.log_softmax(x.flatten(first), -1).reshape(x.shape),
        Op.Hardmax: lambda x: _hardmax(x, first),
    }
    return table[node.op]


def _align(node: Node, index: int) -> Kernel | None:
    """Static axes align at the end; a batched operand of lower rank needs unit axes after the batch axis."""
    variable = node.operands[index]
    missing = len(node.result.shape) - len(variable.shape)
    if not variable.has_batch_axis() or missing == 0:
        return None
    shape = (1,) * missing + variable.shape
    return lambda x: x.reshape(x.shape[0], *shape)


def _binary(node: Node) -> Kernel:
    table: dict[Op, Kernel] = {
        Op.Plus: torch.add,
        Op.Minus: torch.sub,
        Op.ElementTimes: torch.mul,
        Op.LogPlus: torch.logaddexp,
        Op.Pow: torch.pow,
    }
    function = table[node.op]
    left, right = _align(node, 0), _align(node, 1)
    if left is None and right is None:
        return function
    return lambda a, b: function(left(a) if left else a, right(b) if right else b)


def _times(node: Node) -> Kernel:
    output_rank = int(node.attributes["outputRank"])
    w_shape, x_shape = node.operands[0].shape, node.operands[1].shape
    reduced = len(w_shape) - output_rank
    inner = math.prod(w_shape[:reduced])
    outer = math.prod(w_shape[reduced:])
    rows = math.prod(x_shape[: len(x_shape) - reduced])
    result = node.result.shape

    def plain(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (x.reshape(-1, inner) @ w.reshape(inner, outer)).reshape(-1, *result)

    def batched(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        # reshape(-1, ...) would be ambiguous for a weight without a batch axis, hence the explicit sizes.
        return (x.reshape(-1, rows, inner) @ w.reshape(-1, inner, outer)).reshape(-1, *result)

    if node.batched(0):
        return batched
    if node.batched(1):
        return plain
    return lambda w, x: plain(w, x).reshape(result)


def dense(node: Node, times: Node) -> Kernel:
    """Times and the addition of a bias of the output's shape, in one product."""
    w_shape = times.operands[0].shape
    output_rank = int(times.attributes["outputRank"])
    inner = math.prod(w_shape[: len(w_shape) - output_rank])
    outer = math.prod(w_shape[len(w_shape) - output_rank :])
    result = node.result.shape

    def run(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.addmm(b.reshape(outer), x.reshape(-1, inner), w.reshape(inner, outer)).reshape(
            -1, *result
        )

    return run


def _transpose_times(node: Node) -> Kernel:
    right_rank = len(node.operands[0].shape)
    left_rank = len(node.operands[1].shape)
    result = node.result.shape
    batched = node.batched(0) or node.batched(1)

    def run(right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        right = right.unsqueeze(-2) if right_rank == 1 else right
        left = left.unsqueeze(-2) if left_rank == 1 else left
        if left_rank > 2:
            left = left.flatten(left.dim() - left_rank, -2)
        product = left @ right.transpose(-1, -2)
        return product.reshape(-1, *result) if batched else product.reshape(result)

    return run


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


def convolution(node: Node) -> Kernel:
    """(weight, x[, bias of shape (K,1,1)]) -> feature maps."""
    weight, data = node.operands
    attributes = node.attributes
    x_shape, w_shape = data.shape, weight.shape
    rank = len(x_shape) - 1
    if rank not in (1, 2, 3):
        raise unavailable(f"convolution over {rank} spatial axes")
    strides = list(reversed(attributes["strides"][:rank]))
    dilation = list(reversed(attributes["dilation"][:rank]))
    windows = convolution_windows(x_shape[1:], w_shape[2:], attributes)
    groups = int(attributes.get("groups", 1))
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    kernel = [(k - 1) * d + 1 for k, d in zip(w_shape[2:], dilation, strict=True)]
    simple = _simple_padding(x_shape[1:], kernel, strides, windows)
    padding = [win.low for win in windows] if simple else 0
    pad = None if simple else _pad_spec(windows)
    batched = data.has_batch_axis()
    image = rank == 2

    def run(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        if not batched:
            x = x.unsqueeze(0)
        if pad is not None:
            x = F.pad(x, pad)
        if image:
            x = channels_last(x)
        y = function(x, w, None if b is None else b.reshape(-1), strides, padding, dilation, groups)
        return y if batched else y.squeeze(0)

    return run


def _pooling(node: Node) -> Kernel:
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
    reshape = len(shape) != rank + 1 or not node.batched(0)
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
                return max_pool(x, kernel, strides, padding)
            return max_pool(F.pad(x, pad, value=-math.inf), kernel, strides)
        if simple:
            return average_pool(x, kernel, strides, padding, count_include_pad=include_pad)
        nonlocal counts
        counts = counts.to(x)  # moves once
        mean = average_pool(F.pad(x, pad), kernel, strides)
        return mean if include_pad else mean * (math.prod(kernel) / counts)

    if not reshape:
        return pool
    if node.batched(0):
        return lambda x: pool(x.reshape(-1, channels, *spatial)).reshape(-1, *result)
    return lambda x: pool(x.reshape(1, channels, *spatial)).reshape(result)


class _Extreme(torch.autograd.Function):
    """Maximum or minimum over axes whose gradient goes to all tied elements, as CNTK's does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dims: list[int], keep: bool, largest: bool) -> torch.Tensor:
        result = x.amax(dims, keepdim=True) if largest else x.amin(dims, keepdim=True)
        ctx.save_for_backward(x == result)
        ctx.shape = result.shape
        return result if keep else result.squeeze(dims)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (ties,) = ctx.saved_tensors
        return gradient.reshape(ctx.shape) * ties, None, None, None


def _reduce(node: Node) -> Kernel:
    attributes = node.attributes
    rank = len(node.operands[0].shape)
    axes = reduction_axes(attributes, rank)
    name = attributes["reductionOpName"]
    keep = bool(attributes.get("reductionKeepDimensions", True))
    if axes is None:
        if name != "Sum":
            raise unavailable(f"reduction {name} over the batch axis")
        return torch.sum
    if not axes:
        return lambda x: x
    dims = [axis - rank for axis in axes]
    extreme: Kernel = _Extreme.apply
    table: dict[str, Kernel] = {
        "Sum": lambda x: x.sum(dims, keepdim=keep),
        "Mean": lambda x: x.mean(dims, keepdim=keep),
        "LogSum": lambda x: x.logsumexp(dims, keepdim=keep),
        "Max": lambda x: extreme(x, dims, keep, True),
        "Min": lambda x: extreme(x, dims, keep, False),
    }
    if name not in table:
        raise unavailable(f"reduction {name}")
    return table[name]


def _reshape(node: Node) -> Kernel:
    result = node.result.shape
    return (lambda x: x.reshape(-1, *result)) if node.batched(0) else (lambda x: x.reshape(result))


def _dropout(node: Node) -> Kernel:
    rate = float(node.attributes["dropoutRate"])
    if not node.training or rate == 0.0:
        return lambda x: x
    generators: dict[torch.device, torch.Generator] = {}
    seed = int(node.attributes.get("rngSeed", 0)) & (2**63 - 1)
    scale = 1.0 / (1.0 - rate)

    def run(x: torch.Tensor) -> torch.Tensor:
        generator = generators.get(x.device)
        if generator is None:
            generator = generators[x.device] = torch.Generator(x.device).manual_seed(seed)
        mask = torch.empty_like(x, requires_grad=False).bernoulli_(1.0 - rate, generator=generator)
        return x * mask.mul_(scale)

    return run


def _batch_normalization(node: Node) -> Kernel:
    attributes = node.attributes
    if float(attributes.get("blendTimeConstant", 0.0)) != 0.0:
        raise unavailable("batch normalisation with a blend time constant")
    epsilon = float(attributes["epsilon"])
    time_constant = float(attributes["normalizationTimeConstant"])
    spatial = bool(attributes["spatial"])
    shape = node.operands[0].shape
    training = node.training
    counter = node.operands[5] if len(node.operands) > 5 else None
    if training and not isinstance(counter, Constant):
        raise unavailable("training a batch normalisation without a running count")
    begun, known_version = False, -1

    def run(
        x: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor | None = None,
    ) -> torch.Tensor:
        nonlocal begun, known_version
        y = x if spatial else x.flatten(1)
        momentum = 0.0
        if training and count is not None:
            samples = x.shape[0]
            # The first minibatch sets the running statistics, later ones are blended in by the time constant.
            if count._version != known_version:
                # Somebody else wrote the count.  Looked at only then: on a GPU it means to wait.
                begun = count.item() != 0
            first = not begun or time_constant == 0
            momentum = 1.0 if first else 1.0 - math.exp(-samples / time_constant)
            count.add_(samples)
            begun, known_version = True, count._version
        flat = [t.reshape(-1) for t in (mean, variance, scale, bias)]
        if training and y.numel() == y.shape[1]:
            # One value per channel: no deviation from its mean, and no variance for the running one.
            with torch.no_grad():
                flat[0].lerp_(y.reshape(-1), momentum)
                flat[1].mul_(1.0 - momentum)
            y = torch.batch_norm(y, flat[2], flat[3], None, None, True, 0.0, epsilon, False)
        else:
            y = F.batch_norm(y, flat[0], flat[1], flat[2], flat[3], training, momentum, epsilon)
        return y if spatial else y.reshape(-1, *shape)

    return run


_BUILDERS: dict[Op, Callable[[Node], Kernel]] = {
    **dict.fromkeys((Op.Plus, Op.Minus, Op.ElementTimes, Op.LogPlus, Op.Pow), _binary),
    Op.Times: _times,
    Op.TransposeTimes: _transpose_times,
    Op.Convolution: convolution,
    Op.Pooling: _pooling,
    Op.ReduceElements: _reduce,
    Op.Reshape: _reshape,
    Op.Dropout: _dropout,
    Op.BatchNormalization: _batch_normalization,
}


def build(node: Node) -> Kernel:
    return _BUILDERS.get(node.op, _unary)(node)


def cross_entropy(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """logsumexp(z) - z . label per sample, for rank-1 operands."""
    return torch.logsumexp(z, -1, keepdim=True) - (z * label).sum(-1, keepdim=True)


def classification_error(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """1 - label at the first maximum of z, for rank-1 operands."""
    with torch.no_grad():
        return 1.0 - label.gather(-1, z.argmax(-1, keepdim=True))
