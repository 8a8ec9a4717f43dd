"""Softmax and its kin, dropout, and normalisations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..axis import Axis
from ..internal.opcodes import Op
from ..internal.proto import SizeT
from ..internal.uids import AUTO_SEED, resolve_seed
from ..variables import Constant
from .construction import constant, primitive
from .elementwise import element_divide, element_times, exp, log, minus, plus, sqrt, square
from .nodes import CompositeFunction
from .reductions import reduce_log_sum_exp, reduce_max, reduce_mean, reduce_sum
from .shapes import reshape
from .tracing import make_block, to_variable
from .windows import convolution


def _all_static(axis: Any) -> bool:
    return axis is None or axis == Axis.all_static_axes()


def softmax(x: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    """exp(x) over its sum, over all static axes or one."""
    if _all_static(axis):
        return primitive(Op.Softmax, [x], name=name)

    def body(v: Any) -> CompositeFunction:
        top = exp(minus(v, reduce_max(v, axis)))
        return element_divide(top, reduce_sum(top, axis))

    return make_block("Softmax", body, [x], name)


def log_softmax(x: Any, axis: Any = None, name: str = "") -> CompositeFunction:
    """The logarithm of softmax along an axis, by default (unlike softmax) the last one."""
    axis = -1 if axis is None else axis

    def body(v: Any) -> CompositeFunction:
        below = minus(v, reduce_max(v, axis))  # exact also for large values
        return minus(below, reduce_log_sum_exp(below, axis))

    return make_block("LogSoftmax", body, [x], name)


def hardmax(x: Any, name: str = "") -> CompositeFunction:
    """1 at the first maximum of all static axes, else 0."""
    return primitive(Op.Hardmax, [x], name=name)


def dropout(x: Any, dropout_rate: float = 0.0, seed: int = AUTO_SEED, name: str = "") -> CompositeFunction:
    """Zero a random part in training and scale up the rest; the identity in evaluation."""
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError("dropout_rate must be in the interval [0,1)")
    attributes = {
        "dropoutRate": float(dropout_rate),
        "rngSeed": SizeT(resolve_seed(seed)),
        "rngOffset": SizeT(0),
    }
    return primitive(Op.Dropout, [x], attributes, name)


def batch_normalization(
    operand: Any,
    scale: Any,
    bias: Any,
    running_mean: Any,
    running_inv_std: Any,
    spatial: bool,
    normalization_time_constant: float = 5000,
    blend_time_constant: float = 0,
    epsilon: float = 0.00001,
    use_cudnn_engine: bool = False,
    disable_regularization: bool = False,
    name: str = "",
    running_count: Any = None,
) -> CompositeFunction:
    """Values with the minibatch's mean and variance taken out in training, the running ones in evaluation."""
    if running_count is None:
        running_count = Constant(0.0, (), to_variable(operand).dtype)
        warnings.warn("batch_normalization requires an explicit 'running_count' parameter", stacklevel=2)
    attributes = {
        "spatial": bool(spatial),
        "normalizationTimeConstant": float(normalization_time_constant),
        "blendTimeConstant": float(blend_time_constant),
        "epsilon": float(epsilon),
        "useCuDNNEngine": bool(use_cudnn_engine),
        "disableRegularization": bool(disable_regularization),
    }
    operands = [operand, scale, bias, running_mean, running_inv_std, running_count]
    return primitive(Op.BatchNormalization, operands, attributes, name)


def local_response_normalization(
    operand: Any, depth_radius: int, bias: float, alpha: float, beta: float, name: str = ""
) -> CompositeFunction:
    """x / (bias + alpha * mean of squares over 2 depth_radius + 1 channels) ** beta."""
    attributes = {
        "depthRadius": SizeT(depth_radius), "bias": float(bias), "alpha": float(alpha), "beta": float(beta),
    }  # fmt: skip
    width = 2 * int(depth_radius) + 1
    # As in CNTK, the window reaches no further than half of the channels; the mean is over its full width.
    channels = to_variable(operand).shape[:1]
    reach = min(int(depth_radius), (channels[0] - 1) // 2) if channels else int(depth_radius)

    def body(x: Any) -> CompositeFunction:
        # The sum over neighbouring channels is a convolution along them, with the channels as an image axis.
        kernel = constant(np.full((1, 1, 2 * reach + 1, 1, 1), alpha / width, x.dtype))
        squares = reshape(square(x), (1,), begin_axis=0, end_axis=0)
        sums = convolution(kernel, squares, auto_padding=[False, True, False, False])
        denominator = plus(bias, reshape(sums, x.shape))
        return element_times(x, exp(element_times(-beta, log(denominator))))

    return make_block("LocalResponseNormalization", body, [operand], name, attributes)


def mean_variance_normalization(
    operand: Any,
    epsilon: float = 0.00001,
    use_stats_across_channels: bool = False,
    do_variance_scaling: bool = True,
    name: str = "",
) -> CompositeFunction:
    """Each sample with its mean taken out, and (if asked) divided by its standard deviation."""
    if epsilon < 0:
        raise ValueError("epsilon must be non-negative.")
    rank = len(to_variable(operand).shape)
    axes: Any = None if use_stats_across_channels else list(range(1, rank))
    scaled_by = constant(epsilon, name="mvn_epsilon") if do_variance_scaling else None

    def body(x: Any) -> CompositeFunction:
        centred = minus(x, reduce_mean(x, axes))
        if scaled_by is None:
            return centred
        deviation = sqrt(reduce_mean(square(centred), axes))
        return element_divide(centred, plus(deviation, scaled_by))

    return make_block("MeanVarianceNormalization", body, [operand], name)


def per_dim_mean_variance_normalize(
    operand: Any, mean: Any, inv_stddev: Any, name: str = ""
) -> CompositeFunction:
    """(x - mean) * inverse standard deviation."""
    return make_block(
        "PerDimMeanVarianceNormalize",
        lambda x, m, s: element_times(minus(x, m), s),
        [operand, mean, inv_stddev],
        name,
    )


def image_scaler(x: Any, scalar: float, biases: Sequence[float], name: str = "") -> CompositeFunction:
    """scalar * x + a bias per channel."""
    shift = np.asarray(biases, np.float32).reshape(-1, 1, 1)
    return make_block("ImageScaler", lambda v: plus(element_times(v, scalar), constant(shift)), [x], name)


__all__ = [
    "batch_normalization", "dropout", "hardmax", "image_scaler", "local_response_normalization",
    "log_softmax", "mean_variance_normalization", "per_dim_mean_variance_normalize", "softmax",
]  # fmt: skip
