"""Convolution whose first window axis goes over the sequence."""

from __future__ import annotations

from typing import Any

from ..internal.opcodes import Op
from ..variables import sanitize_shape
from . import sequence
from .construction import primitive
from .nodes import CompositeFunction
from .reductions import reduce_sum
from .shapes import reshape, swapaxes, to_sequence
from .tracing import to_variable

_PREFIX = "ConvOverSequenceAxisPrefix"


def sequential_convolution(
    convolution_map: Any, operand: Any, strides: Any, auto_padding: Any, dilation: Any, reduction_rank: int,
    groups: int, memory: int, name: str,
) -> CompositeFunction:  # fmt: skip
    """The sequence becomes a static axis behind the channels, is convolved, and becomes a sequence again."""
    from .windows import convolution, convolution_attributes

    weight, data = to_variable(convolution_map), to_variable(operand)
    spatial = len(weight.shape) - 1 - reduction_rank
    values, mask = sequence.unpack(data, 0).outputs
    lengths = reduce_sum(mask, 0)
    padding = list(auto_padding)
    if reduction_rank == 1:
        # [time, channels, ...] -> [channels, time, ...]
        values = swapaxes(values, 0, 1).output
        padding = padding * (spatial + 1) if len(padding) == 1 else padding
        padding = [False, *padding[-spatial:]]
    convolved = convolution(
        weight, values, strides, auto_padding=padding, dilation=dilation, reduction_rank=reduction_rank,
        groups=groups, max_temp_mem_size_in_samples=memory,
    )  # fmt: skip
    steps = strides if not isinstance(strides, int) else (strides,)
    flags = padding if len(padding) > 1 or reduction_rank else padding * (spatial + 1)
    attributes = convolution_attributes(weight, sanitize_shape(steps), [True], flags, dilation)
    new_lengths = primitive(Op.ConvolutionSequenceShape, [weight, lengths], attributes)
    back = swapaxes(convolved, 0, 1)
    if len(weight.shape) - 1 - reduction_rank < 1:
        back = reshape(back, (-1,))
    return to_sequence(back, new_lengths, _PREFIX, name)
