"""The layers of feed-forward networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..default_options import default_override_or, get_default_override, is_default_override
from ..initializer import glorot_uniform, initializer_with_rank
from ..internal.missing import module_getattr, unavailable
from ..internal.uids import AUTO_SEED
from ..ops.functions import BlockFunction, Function
from ..ops.tracing import trace
from ..variables import FREE, INFERRED, Constant, Parameter, Variable, sanitize_shape
from .blocks import as_activation, identity

_ACTIVATION = default_override_or(identity)
_INIT = default_override_or(glorot_uniform())
_PAD = default_override_or(False)
_BIAS = default_override_or(True)
_INIT_BIAS = default_override_or(0)
_MAP_RANK = default_override_or(None)
_TIME_CONSTANT = default_override_or(5000)
_EPSILON = default_override_or(0.00001)
_OWN_ENGINE = default_override_or(False)
_NO_REGULARIZATION = default_override_or(False)


def _per_axis(window: tuple[int, ...], value: Any, what: str) -> tuple[Any, ...]:
    """A scalar stands for every axis."""
    values = (value,) * len(window) if np.isscalar(value) else tuple(value)
    if len(values) != len(window):
        raise ValueError(
            f"{what} parameter ({value}) must be a scalar or have same number of elements as the "
            f"filter_shape parameter ({window})"
        )
    return values


def Dense(
    shape: Any,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    input_rank: int | None = None,
    map_rank: int | None = None,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    name: str = "",
) -> Function:
    """activation(x W + b); all axes of x are contracted unless input_rank or map_rank says otherwise."""
    activation = as_activation(get_default_override(Dense, activation=activation))
    init = get_default_override(Dense, init=init)
    bias = get_default_override(Dense, bias=bias)
    init_bias = get_default_override(Dense, init_bias=init_bias)
    if input_rank is not None and map_rank is not None:
        raise ValueError("Dense: input_rank and map_rank cannot be specified at the same time.")
    output_shape = sanitize_shape(shape)
    rank = len(output_shape)
    inputs = (INFERRED,) * (1 if input_rank is None else input_rank)
    infer_rank = -1 if input_rank is not None else 0 if map_rank is None else map_rank
    weights = initializer_with_rank(init, output_rank=rank)
    W = Parameter(inputs + output_shape, init=weights, name="W")
    b = Parameter(output_shape, init=init_bias, name="b") if bias else None

    @BlockFunction("Dense", name)
    def dense(x: Any) -> Any:
        result = ops.times(x, W, output_rank=rank, infer_input_rank_to_map=infer_rank)
        if b is not None:
            result = result + b
        return activation(result)

    return dense


def Convolution(
    filter_shape: Any,
    num_filters: Any = None,
    sequential: bool = False,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    sharing: bool = True,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    reduction_rank: int = 1,
    transpose_weight: bool = False,
    dilation: Any = 1,
    groups: int = 1,
    max_temp_mem_size_in_samples: int = 0,
    op_name: str = "Convolution",
    name: str = "",
) -> Function:
    """activation(conv(x, W) + b) on channels-first data.

    Without num_filters the result has no channel axis; with reduction_rank 0 the input has none.  With
    `sequential` the first window axis goes over the sequence, which without padding loses steps at its ends.
    """
    activation = as_activation(get_default_override(Convolution, activation=activation))
    init = get_default_override(Convolution, init=init)
    pad = get_default_override(Convolution, pad=pad)
    bias = get_default_override(Convolution, bias=bias)
    init_bias = get_default_override(Convolution, init_bias=init_bias)
    if transpose_weight:
        raise NotImplementedError("Convolution: transpose_weight option currently not supported")
    if not sharing:
        raise NotImplementedError("Convolution: sharing option currently must be True")
    if groups > 1:
        raise ValueError(
            "Convolution: groups > 1, is not currently supported by Convolution layer. For group convolution "
            "with groups > 1, use CNTK's low-level convolution node (cntk.convolution)."
        )
    window = sanitize_shape(filter_shape)
    rank = len(window)
    filters = (1,) if num_filters in (None, ()) else sanitize_shape(num_filters)
    if len(filters) != 1:
        raise unavailable("cntk.layers.Convolution with several output axes")
    strides = _per_axis(window, strides, "strides")
    padding = tuple(bool(p) for p in _per_axis(window, pad, "pad"))
    dilation = _per_axis(window, dilation, "dilation")
    if sequential and strides[0] != 1:
        raise NotImplementedError("windowed convolution with stride not yet implemented")
    W, bias_shape = _kernel(init, filters, window, reduction_rank, rank)
    b = Parameter(bias_shape, init=init_bias, name="b") if bias else None

    @BlockFunction(op_name, name)
    def convolve(x: Any) -> Any:
        if reduction_rank == 0:
            x = ops.reshape(x, (1,), 0, 0)
        if sequential:
            x = _neighbours(x, window[0])
        result = ops.convolution(
            W,
            x,
            strides=strides,
            sharing=(True,),
            auto_padding=(False, not sequential and padding[0], *padding[1:]),
            dilation=dilation,
            groups=groups,
            max_temp_mem_size_in_samples=max_temp_mem_size_in_samples,
        )
        if b is not None:
            result = result + b
        if sequential:
            result = ops.reshape(result, (), 1, 2)
            if not padding[0]:
                before = (window[0] - 1) // 2
                result = ops.sequence.slice(result, before, before + 1 - window[0])
        if num_filters in (None, ()):
            result = ops.reshape(result, (), 0, 1)
        return activation(result)

    return convolve


def _kernel(
    init: Any, filters: tuple[int, ...], window: tuple[int, ...], reduction_rank: int, bias_axes: int
) -> tuple[Parameter, tuple[int, ...]]:
    """The kernel (outputs, channels, *window) and the shape of its bias."""
    weights = initializer_with_rank(init, output_rank=-1, filter_rank=len(window))
    channels = INFERRED if reduction_rank else 1
    if isinstance(init, np.ndarray) and init.ndim < len(window) + 1 + len(filters):  # the window alone, say
        weights = init.reshape(*filters, -1, *window)
    return Parameter((*filters, channels, *window), init=weights, name="W"), filters + (1,) * bias_axes


def _neighbours(x: Any, width: int) -> Any:
    """The steps around each one of a sequence, along a new axis behind the channels."""
    before = (width - 1) // 2
    steps = [ops.sequence.delay(x, time_step=before - i) for i in range(width)]
    return ops.splice(*[ops.reshape(step, (1,), 1, 1) for step in steps], axis=1)


def SequentialConvolution(
    filter_shape: Any,
    num_filters: Any = None,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    sharing: bool = True,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    reduction_rank: int = 1,
    transpose_weight: bool = False,
    dilation: Any = 1,
    groups: int = 1,
    max_temp_mem_size_in_samples: int = 0,
    op_name: str = "Convolution",
    name: str = "",
) -> Function:
    """A convolution whose first window axis goes over the sequence, which may become shorter."""
    activation = as_activation(get_default_override(SequentialConvolution, activation=activation))
    init = get_default_override(SequentialConvolution, init=init)
    pad = get_default_override(SequentialConvolution, pad=pad)
    bias = get_default_override(SequentialConvolution, bias=bias)
    init_bias = get_default_override(SequentialConvolution, init_bias=init_bias)
    if transpose_weight or not sharing:
        raise unavailable("cntk.layers.SequentialConvolution with transpose_weight or without sharing")
    window = sanitize_shape(filter_shape)
    rank = len(window)
    filters = (1,) if num_filters in (None, ()) else sanitize_shape(num_filters)
    strides = _per_axis(window, strides, "strides")
    padding = tuple(bool(p) for p in _per_axis(window, pad, "pad"))
    dilation = _per_axis(window, dilation, "dilation")
    W, bias_shape = _kernel(init, filters, window, reduction_rank, rank - 1)
    b = Parameter(bias_shape, init=init_bias, name="b") if bias else None

    @BlockFunction(op_name, name)
    def convolve(x: Any) -> Any:
        if reduction_rank == 0:
            x = ops.reshape(x, (1,), 0, 0)
        result = ops.convolution(
            W, x, strides=strides, auto_padding=padding, sequential=True, dilation=dilation, groups=groups,
            max_temp_mem_size_in_samples=max_temp_mem_size_in_samples,
        )  # fmt: skip
        if b is not None:
            result = result + b
        if num_filters in (None, ()):
            result = ops.reshape(result, (), 0, 1)
        return activation(result)

    return convolve


def _convolution_nd(rank: int, filter_shape: Any, kwargs: dict[str, Any]) -> Function:
    if np.isscalar(filter_shape):
        filter_shape = (filter_shape,) * rank
    if len(tuple(filter_shape)) != rank:
        example = ", e.g. 3 or (3,3)" if rank == 2 else ""
        raise ValueError(f"Convolution{rank}D: filter_shape must be a scalar or a {rank}D tuple{example}")
    # A scope for Convolution2D holds for this call; Convolution itself then sees plain values.
    own = {1: Convolution1D, 2: Convolution2D, 3: Convolution3D}[rank]
    for key in ("activation", "init", "pad", "bias", "init_bias"):
        kwargs[key] = get_default_override(own, **{key: kwargs[key]})
    return Convolution(filter_shape, **kwargs)


def Convolution1D(
    filter_shape: Any,
    num_filters: Any = None,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    reduction_rank: int = 1,
    dilation: Any = 1,
    groups: int = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _convolution_nd(1, filter_shape, kwargs)


def Convolution2D(
    filter_shape: Any,
    num_filters: Any = None,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    reduction_rank: int = 1,
    dilation: Any = 1,
    groups: int = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _convolution_nd(2, filter_shape, kwargs)


def Convolution3D(
    filter_shape: Any,
    num_filters: Any = None,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    reduction_rank: int = 1,
    dilation: Any = 1,
    groups: int = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _convolution_nd(3, filter_shape, kwargs)


def _pooling(
    layer: Any, kind: int, op_name: str, filter_shape: Any, strides: Any, pad: Any, name: str
) -> Function:
    pad = get_default_override(layer, pad=pad)
    window = sanitize_shape(filter_shape)
    strides = _per_axis(window, strides, "strides")
    padding = [bool(p) for p in _per_axis(window, pad, "pad")]

    @BlockFunction(op_name, name)
    def pool(x: Any) -> Any:
        return ops.pooling(x, kind, window, strides, auto_padding=padding)

    return pool


def MaxPooling(filter_shape: Any, strides: Any = 1, pad: Any = _PAD, name: str = "") -> Function:
    """The maximum of each window; padding never wins."""
    return _pooling(MaxPooling, ops.MAX_POOLING, "MaxPooling", filter_shape, strides, pad, name)


def AveragePooling(filter_shape: Any, strides: Any = 1, pad: Any = _PAD, name: str = "") -> Function:
    """The mean of the real cells of each window."""
    return _pooling(AveragePooling, ops.AVG_POOLING, "AveragePooling", filter_shape, strides, pad, name)


def Dropout(
    dropout_rate: float | None = None, keep_prob: float | None = None, seed: int = AUTO_SEED, name: str = ""
) -> Function:
    """Drop values at random in training."""
    if dropout_rate is None and keep_prob is None:
        raise ValueError("Dropout: either dropout_rate or keep_prob must be specified.")
    if dropout_rate is not None and keep_prob is not None:
        raise ValueError("Dropout: dropout_rate and keep_prob cannot be specified at the same time.")
    if keep_prob is not None:
        if not 0.0 <= keep_prob < 1.0:
            raise ValueError("Dropout: keep_prob must be in the interval [0,1)")
        dropout_rate = 1.0 - keep_prob
    rate = dropout_rate or 0.0

    @BlockFunction("Dropout", name)
    def drop(x: Any) -> Any:
        return ops.dropout(x, dropout_rate=rate, seed=seed)

    return drop


def BatchNormalization(
    map_rank: Any = _MAP_RANK,
    init_scale: float = 1,
    normalization_time_constant: Any = _TIME_CONSTANT,
    blend_time_constant: float = 0,
    epsilon: Any = _EPSILON,
    use_cntk_engine: Any = _OWN_ENGINE,
    disable_regularization: Any = _NO_REGULARIZATION,
    name: str = "",
) -> Function:
    """Normalise by the minibatch's statistics in training, by running ones in evaluation."""
    map_rank = get_default_override(BatchNormalization, map_rank=map_rank)
    time_constant = get_default_override(
        BatchNormalization, normalization_time_constant=normalization_time_constant
    )
    epsilon = get_default_override(BatchNormalization, epsilon=epsilon)
    own_engine = get_default_override(BatchNormalization, use_cntk_engine=use_cntk_engine)
    regularization = get_default_override(BatchNormalization, disable_regularization=disable_regularization)
    if map_rank not in (None, 1):
        raise NotImplementedError(
            "Untested code branch: BatchNormalization map_rank can only be 1 or None for now"
        )
    shape = (INFERRED,)
    scale = Parameter(shape, init=init_scale, name="scale")
    bias = Parameter(shape, init=0, name="bias")
    mean = Constant(0, shape=shape, name="aggregate_mean")
    variance = Constant(0, shape=shape, name="aggregate_variance")
    count = Constant(0, shape=(), name="aggregate_count")

    @BlockFunction("BatchNormalization", name)
    def normalize(x: Any) -> Any:
        return ops.batch_normalization(
            x,
            scale,
            bias,
            mean,
            variance,
            map_rank == 1,
            time_constant,
            blend_time_constant,
            epsilon,
            not own_engine,
            regularization,
            running_count=count,
        )

    return normalize


def Activation(activation: Any = _ACTIVATION, name: str = "") -> Function:
    """An activation as a layer."""
    activation = as_activation(get_default_override(Activation, activation=activation))

    @BlockFunction("Activation", name)
    def activate(x: Any) -> Any:
        return ops.alias(x) if activation is identity else activation(x)

    return activate


def GlobalMaxPooling(name: str = "") -> Function:
    """The maximum over all spatial axes."""
    return _global_pooling(ops.MAX_POOLING, "GlobalMaxPooling", name)


def GlobalAveragePooling(name: str = "") -> Function:
    """The mean over all spatial axes."""
    return _global_pooling(ops.AVG_POOLING, "GlobalAveragePooling", name)


def _global_pooling(kind: int, op_name: str, name: str) -> Function:
    @BlockFunction(op_name, name)
    def pool(x: Any) -> Any:
        return ops.pooling(x, kind, FREE, auto_padding=[False])

    return pool


def MaxUnpooling(filter_shape: Any, strides: Any = 1, pad: Any = False, name: str = "") -> Function:
    """(pooled, input of the pooling) -> the pooled values where the maxima were."""
    window = sanitize_shape(filter_shape)
    strides = _per_axis(window, strides, "strides")
    padding = [bool(p) for p in _per_axis(window, pad, "pad")]

    @BlockFunction("MaxUnpooling", name)
    def unpool(x: Any, y: Any) -> Any:
        return ops.unpooling(x, y, ops.MAX_UNPOOLING, window, strides, auto_padding=padding)

    return unpool


def ConvolutionTranspose(
    filter_shape: Any,
    num_filters: Any,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    sharing: bool = True,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    output_shape: Any = None,
    reduction_rank: int = 1,
    dilation: Any = 1,
    max_temp_mem_size_in_samples: int = 0,
    name: str = "",
) -> Function:
    """activation(transposed convolution(x, W) + b); W is (channels, outputs, *window)."""
    activation = as_activation(get_default_override(ConvolutionTranspose, activation=activation))
    init = get_default_override(ConvolutionTranspose, init=init)
    pad = get_default_override(ConvolutionTranspose, pad=pad)
    bias = get_default_override(ConvolutionTranspose, bias=bias)
    init_bias = get_default_override(ConvolutionTranspose, init_bias=init_bias)
    if reduction_rank != 1:
        raise NotImplementedError("ConvolutionTranspose: reduction_rank other than 1 currently not supported")
    if not sharing:
        raise NotImplementedError("ConvolutionTranspose: sharing option currently must be True")
    if num_filters is None:
        raise ValueError("ConvolutionTranspose: num_filters must be specified (output depth)")
    window = sanitize_shape(filter_shape)
    rank = len(window)
    filters = sanitize_shape(num_filters)
    strides = _per_axis(window, strides, "strides")
    padding = tuple(bool(p) for p in _per_axis(window, pad, "pad"))
    dilation = _per_axis(window, dilation, "dilation")
    result_shape = None if output_shape is None else (*filters, *sanitize_shape(output_shape))
    weights = initializer_with_rank(init, output_rank=-1, filter_rank=rank)
    W = Parameter((INFERRED, *filters, *window), init=weights, name="W")
    b = Parameter(filters + (1,) * rank, init=init_bias, name="b") if bias else None

    @BlockFunction("ConvolutionTranspose", name)
    def convolve(x: Any) -> Any:
        result = ops.convolution_transpose(
            W,
            x,
            strides=strides,
            sharing=(True,),
            auto_padding=(False, *padding),
            output_shape=result_shape,
            dilation=dilation,
            max_temp_mem_size_in_samples=max_temp_mem_size_in_samples,
        )
        if b is not None:
            result = result + b
        return activation(result)

    return convolve


def _transposed_nd(rank: int, filter_shape: Any, kwargs: dict[str, Any]) -> Function:
    if np.isscalar(filter_shape):
        filter_shape = (filter_shape,) * rank
    if len(tuple(filter_shape)) != rank:
        raise ValueError(f"ConvolutionTranspose{rank}D: filter_shape must be a scalar or a {rank}D tuple")
    own = {1: ConvolutionTranspose1D, 2: ConvolutionTranspose2D, 3: ConvolutionTranspose3D}[rank]
    for key in ("activation", "init", "pad", "bias", "init_bias"):
        kwargs[key] = get_default_override(own, **{key: kwargs[key]})
    return ConvolutionTranspose(filter_shape, **kwargs)


def ConvolutionTranspose1D(
    filter_shape: Any,
    num_filters: Any,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    output_shape: Any = None,
    reduction_rank: int = 1,
    dilation: Any = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _transposed_nd(1, filter_shape, kwargs)


def ConvolutionTranspose2D(
    filter_shape: Any,
    num_filters: Any,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    output_shape: Any = None,
    reduction_rank: int = 1,
    dilation: Any = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _transposed_nd(2, filter_shape, kwargs)


def ConvolutionTranspose3D(
    filter_shape: Any,
    num_filters: Any,
    activation: Any = _ACTIVATION,
    init: Any = _INIT,
    pad: Any = _PAD,
    strides: Any = 1,
    bias: Any = _BIAS,
    init_bias: Any = _INIT_BIAS,
    output_shape: Any = None,
    reduction_rank: int = 1,
    dilation: Any = 1,
    name: str = "",
) -> Function:
    kwargs = {key: value for key, value in locals().items() if key != "filter_shape"}
    return _transposed_nd(3, filter_shape, kwargs)


def Embedding(shape: Any = None, init: Any = _INIT, weights: Any = None, name: str = "") -> Function:
    """x E: a row of the table for a one-hot x.  Given weights are not learned."""
    if shape is None and weights is None:
        raise ValueError("Embedding: output shape must be specified")
    if weights is not None:
        if not is_default_override(init):
            raise ValueError("Embedding: init and weights options are mutually exclusive")
        if shape is not None:
            raise ValueError("Embedding: output shape must not be specified when weights are given")
        E: Any = weights if isinstance(weights, Variable) else Constant(weights, name="E")
        rank = len(E.shape) - 1
    else:
        init = get_default_override(Embedding, init=init)
        output_shape = sanitize_shape(shape)
        rank = len(output_shape)
        E = Parameter((INFERRED, *output_shape), init=init, name="E")

    @BlockFunction("Embedding", name)
    def embed(x: Any) -> Any:
        return ops.times(x, E, output_rank=rank)

    return embed


def LayerNormalization(
    initial_scale: float = 1, initial_bias: float = 0, epsilon: Any = _EPSILON, name: str = ""
) -> Function:
    """Each sample with its mean taken out and divided by its deviation, then scaled and shifted."""
    epsilon = get_default_override(LayerNormalization, epsilon=epsilon)
    scale = Parameter((INFERRED,), init=initial_scale, name="scale")
    bias = Parameter((INFERRED,), init=initial_bias, name="bias")

    @BlockFunction("LayerNormalization", name)
    def normalize(x: Any) -> Any:
        centred = x - ops.reduce_mean(x)
        deviation = ops.sqrt(ops.reduce_mean(ops.element_times(centred, centred)))
        if epsilon != 0:
            deviation = deviation + epsilon
        return ops.element_divide(centred, deviation) * scale + bias

    return normalize


def Label(name: str) -> Function:
    """The identity under a name."""

    @trace
    def label(x: Any) -> Any:
        return ops.alias(x, name=name)

    return label


SentinelValueForAutoSelectRandomSeed = AUTO_SEED  # CNTK's name for it in the layers' signatures

__all__ = [
    "Activation", "AveragePooling", "BatchNormalization", "Convolution", "Convolution1D", "Convolution2D",
    "Convolution3D", "ConvolutionTranspose", "ConvolutionTranspose1D", "ConvolutionTranspose2D",
    "ConvolutionTranspose3D", "Dense", "Dropout", "Embedding", "GlobalAveragePooling", "GlobalMaxPooling",
    "Label", "LayerNormalization", "MaxPooling", "MaxUnpooling", "SequentialConvolution",
]  # fmt: skip

__getattr__ = module_getattr("cntk.layers.layers")
