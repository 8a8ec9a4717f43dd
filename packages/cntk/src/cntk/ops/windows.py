"""Convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..internal.infer.values import expand
from ..internal.missing import unavailable
from ..internal.opcodes import Op
from ..internal.proto import FREE_DIMENSION, Shape, SizeT
from ..variables import FREE, sanitize_shape
from .construction import primitive
from .nodes import CompositeFunction
from .shapes import reshape
from .tracing import make_block, to_variable

MAX_POOLING = 0
AVG_POOLING = 1
MAX_UNPOOLING = 0


def _flags(values: Any) -> list[bool]:
    return [bool(v) for v in ([values] if isinstance(values, bool) else values)][::-1]


def convolution_attributes(
    convolution_map: Any, strides: Any, sharing: Any, auto_padding: Any, dilation: Any, groups: int = 1,
    memory: int = 0, output_shape: Any = None, transpose: bool = False, all_axes: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What a convolution stores.  Lists are stored reversed, one value standing for all axes."""
    rank = len(to_variable(convolution_map).shape) - (0 if all_axes else 1)
    zeros = Shape([0] * rank)
    return {
        "kernelShape": Shape([0] * rank),
        "strides": Shape(reversed(sanitize_shape(strides))),
        "sharing": expand(_flags(sharing), rank),
        "autoPadding": expand(_flags(auto_padding), rank),
        "lowerPad": zeros,
        "upperPad": zeros,
        "dilation": Shape(reversed(sanitize_shape(dilation))),
        "transpose": transpose,
        "outputShape": Shape([0] if output_shape is None else reversed(sanitize_shape(output_shape))),
        "groups": SizeT(groups),
        "maxTempMemSizeInSamples": SizeT(memory),
        "sequential": False,
    }


def _of_one_output(weight: Any, data: Any) -> bool:
    """Whether the kernel has no axis of output channels."""
    return 0 < len(to_variable(weight).shape) == len(to_variable(data).shape)


def _with_axis(x: Any) -> CompositeFunction:
    """An axis of one in front."""
    return reshape(x, (1,), begin_axis=0, end_axis=0)


def _with_channel_flag(auto_padding: Any, spatial: int) -> list[bool]:
    """Flags of automatic padding for the spatial axes, behind one for the channels."""
    flags = _flags(auto_padding)[::-1]
    return [False, *(flags * spatial if len(flags) == 1 else flags[-spatial:])]


def convolution(
    convolution_map: Any,
    operand: Any,
    strides: Any = (1,),
    sharing: Sequence[bool] = (True,),
    auto_padding: Sequence[bool] = (True,),
    sequential: bool = False,
    dilation: Any = (1,),
    reduction_rank: int = 1,
    groups: int = 1,
    max_temp_mem_size_in_samples: int = 0,
    name: str = "",
) -> CompositeFunction:
    """Cross-correlation of images (channels first) with a kernel (outputs, channels, *window).

    With reduction_rank 0 the images have no channel axis; with `sequential` the first window axis goes over
    the sequence.
    """
    if not all(_flags(sharing)):
        raise unavailable("cntk.convolution without weight sharing")
    if reduction_rank not in (0, 1):
        raise ValueError("reductionRank: must be 1 or 0.")
    if sequential:
        from .sequence_convolution import sequential_convolution

        return sequential_convolution(
            convolution_map, operand, strides, auto_padding, dilation, reduction_rank, groups,
            max_temp_mem_size_in_samples, name,
        )  # fmt: skip

    def of(weight: Any, data: Any, name: str = "") -> CompositeFunction:
        attributes = convolution_attributes(
            weight,
            strides,
            sharing,
            auto_padding,
            dilation,
            groups,
            max_temp_mem_size_in_samples,
            all_axes=_of_one_output(weight, data),
        )
        return primitive(Op.Convolution, [weight, data], attributes, name)

    if reduction_rank == 1:
        return of(convolution_map, operand, name)
    if len(to_variable(convolution_map).shape) == len(to_variable(operand).shape):
        # A kernel of one output: with a channel axis of one in front of both.
        def of_one(weight: Any, data: Any) -> CompositeFunction:
            return of(_with_axis(weight), _with_axis(data))

        auto_padding = _with_channel_flag(auto_padding, len(to_variable(operand).shape))
        return make_block("Convolution", of_one, [convolution_map, operand], name)
    auto_padding = _with_channel_flag(auto_padding, len(to_variable(convolution_map).shape) - 1)

    def without_channels(weight: Any, data: Any) -> CompositeFunction:
        # A channel axis of one, in front of the image and behind the kernel's outputs.
        if len(weight.shape) == len(data.shape) + 1:
            weight = reshape(weight, (1,), begin_axis=1, end_axis=1)
        return of(weight, reshape(data, (1,), begin_axis=0, end_axis=0))

    return make_block("Convolution", without_channels, [convolution_map, operand], name)


def convolution_transpose(
    convolution_map: Any,
    operand: Any,
    strides: Any = (1,),
    sharing: Sequence[bool] = (True,),
    auto_padding: Sequence[bool] = (True,),
    output_shape: Any = None,
    dilation: Any = (1,),
    reduction_rank: int = 1,
    max_temp_mem_size_in_samples: int = 0,
    name: str = "",
) -> CompositeFunction:
    """The gradient of a convolution as an operation: kernels are (channels, outputs, *window)."""
    if not all(_flags(sharing)):
        raise unavailable("cntk.convolution_transpose without weight sharing")
    if reduction_rank == 0:

        def of_one(weight: Any, data: Any) -> CompositeFunction:
            return convolution_transpose(
                _with_axis(weight), _with_axis(data), strides, sharing,
                _with_channel_flag(auto_padding, len(data.shape)), output_shape, dilation,
                max_temp_mem_size_in_samples=max_temp_mem_size_in_samples,
            )  # fmt: skip

        return make_block("ConvolutionTranspose", of_one, [convolution_map, operand], name)
    attributes = convolution_attributes(
        convolution_map, strides, sharing, auto_padding, dilation, 1, max_temp_mem_size_in_samples,
        output_shape, transpose=True, all_axes=_of_one_output(convolution_map, operand),
    )  # fmt: skip
    return primitive(Op.Convolution, [convolution_map, operand], attributes, name)


def pooling(
    operand: Any,
    pooling_type: int,
    pooling_window_shape: Any,
    strides: Any = (1,),
    auto_padding: Sequence[bool] = (False,),
    ceil_out_dim: bool = False,
    include_pad: bool = False,
    name: str = "",
) -> CompositeFunction:
    """Maximum or average over windows of the trailing axes."""
    attributes = {
        "poolingType": SizeT(pooling_type),
        "poolingWindowShape": Shape(
            FREE_DIMENSION if dim == FREE else dim for dim in reversed(sanitize_shape(pooling_window_shape))
        ),
        "strides": Shape(reversed(sanitize_shape(strides))),
        "autoPadding": _flags(auto_padding),
        "lowerPad": Shape([0]),
        "upperPad": Shape([0]),
        "ceilOutDim": bool(ceil_out_dim),
        "includePad": bool(include_pad),
    }
    return primitive(Op.Pooling, [operand], attributes, name)


def unpooling(
    operand: Any,
    pooling_input: Any,
    unpooling_type: int,
    unpooling_window_shape: Any,
    strides: Any = (1,),
    auto_padding: Sequence[bool] = (False,),
    name: str = "",
) -> CompositeFunction:
    """Pooled values back at the places where the maxima of `pooling_input` are; the rest is zero."""
    if unpooling_type != MAX_UNPOOLING:
        raise ValueError("unpooling: only MAX_UNPOOLING is possible")
    attributes = {
        "poolingType": SizeT(unpooling_type),
        "unpoolingWindowShape": Shape(reversed(sanitize_shape(unpooling_window_shape))),
        "strides": Shape(reversed(sanitize_shape(strides))),
        "autoPadding": _flags(auto_padding),
        "lowerPad": Shape([0]),
        "upperPad": Shape([0]),
    }
    return primitive(Op.Unpooling, [operand, pooling_input], attributes, name)


def roipooling(
    operand: Any, rois: Any, pooling_type: int, roi_output_shape: Any, spatial_scale: float, name: str = ""
) -> CompositeFunction:
    """The maximum over a grid of windows in each region (x1, y1, x2, y2) of interest."""
    attributes = {
        "poolingType": SizeT(pooling_type),
        "roiOutputShape": Shape(reversed(sanitize_shape(roi_output_shape))),
        "spatialScale": float(spatial_scale),
    }
    return primitive(Op.ROIPooling, [operand, rois], attributes, name)


__all__ = [
    "AVG_POOLING", "MAX_POOLING", "MAX_UNPOOLING", "convolution", "convolution_transpose", "pooling",
    "roipooling", "unpooling",
]  # fmt: skip
