"""The operations: each builds one node (or one block) of the graph."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..axis import Axis
from ..default_options import default_override_or, get_default_override
from ..internal.infer import ALL_STATIC_AXES, expand
from ..internal.missing import module_getattr, unavailable
from ..internal.opcodes import Op
from ..internal.proto import INFERRED_DIMENSION, AxisValue, Shape, SizeT
from ..internal.uids import AUTO_SEED, resolve_seed
from ..variables import Constant, Parameter, Variable, is_scalar, sanitize_dtype, sanitize_shape
from .functions import (
    BlockFunction,
    CloneMethod,
    CompositeFunction,
    Function,
    ModelFormat,
    make_block,
    to_variable,
)

MAX_POOLING = 0
AVG_POOLING = 1

_BATCH_ONLY = (Axis.default_batch_axis(),)
_DTYPE = default_override_or(np.float32)


def _primitive(
    op: Op, operands: Sequence[Any], attributes: dict[str, Any] | None = None, name: str = ""
) -> CompositeFunction:
    dtype = next((v.dtype for v in operands if isinstance(v, (Variable, Function))), np.float32)
    from .functions import PrimitiveFunction

    return PrimitiveFunction(op, [to_variable(v, dtype) for v in operands], attributes, name).composite()


# Variables


def input_variable(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    dynamic_axes: Sequence[Axis] | Axis = _BATCH_ONLY,
    name: str = "",
) -> Variable:
    """A place for data: a batch of tensors of this shape."""
    axes = (dynamic_axes,) if isinstance(dynamic_axes, Axis) else tuple(dynamic_axes)
    dtype = sanitize_dtype(get_default_override(input_variable, dtype=dtype))
    return Variable(sanitize_shape(shape), dtype, needs_gradient, is_sparse, axes, name)


def input(
    shape: Any,
    dtype: Any = _DTYPE,
    needs_gradient: bool = False,
    is_sparse: bool = False,
    dynamic_axes: Sequence[Axis] | Axis = _BATCH_ONLY,
    name: str = "",
) -> Variable:
    """The old name of `input_variable`."""
    warnings.warn(
        "This will be removed in future versions. Please use input_variable() instead.",
        DeprecationWarning,
        stacklevel=1,  # as CNTK: attributed to this module, so a recipe's log does not show it
    )
    return input_variable(shape, dtype, needs_gradient, is_sparse, dynamic_axes, name)


def placeholder(shape: Any = None, dynamic_axes: Sequence[Axis] | None = None, name: str = "") -> Variable:
    """A hole in a graph, to be replaced by a variable."""
    return Variable(shape, dynamic_axes=dynamic_axes or (), name=name, kind="Placeholder")


def parameter(
    shape: Any = None, init: Any = None, dtype: Any = None, device: Any = None, name: str = ""
) -> Parameter:
    return Parameter(shape, init, dtype, device, name)


def constant(
    value: Any = None, shape: Any = None, dtype: Any = None, device: Any = None, name: str = ""
) -> Constant:
    if np.isscalar(value) and shape is None:
        shape = ()
    return Constant(value, shape, dtype, device, name)


# Element-wise


def negate(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Negate, [x], name=name)


def sigmoid(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.StableSigmoid, [x], name=name)


def tanh(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Tanh, [x], name=name)


def relu(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.ReLU, [x], name=name)


def exp(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Exp, [x], name=name)


def log(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Log, [x], name=name)


def sqrt(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Sqrt, [x], name=name)


def floor(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Floor, [x], name=name)


def abs(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Abs, [x], name=name)


def reciprocal(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Reciprocal, [x], name=name)


def sin(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Sin, [x], name=name)


def cos(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Cos, [x], name=name)


def hardmax(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Hardmax, [x], name=name)


def softmax(x: Any, axis: int | Axis | None = None, name: str = "") -> CompositeFunction:
    if axis is not None:
        raise unavailable("cntk.softmax with an axis")
    return _primitive(Op.Softmax, [x], name=name)


def alias(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.NoOp, [x], name=name)


def stop_gradient(input: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.StopGradient, [input], name=name)


def _chain(op: Op, left: Any, right: Any, more: Sequence[Any], name: str) -> CompositeFunction:
    result = _primitive(op, [left, right], name="" if more else name)
    for i, operand in enumerate(more):
        result = _primitive(op, [result, operand], name=name if i == len(more) - 1 else "")
    return result


def plus(left: Any, right: Any, *more: Any, name: str = "") -> CompositeFunction:
    return _chain(Op.Plus, left, right, more, name)


def minus(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.Minus, [left, right], name=name)


def element_times(left: Any, right: Any, *more: Any, name: str = "") -> CompositeFunction:
    return _chain(Op.ElementTimes, left, right, more, name)


def square(x: Any, name: str = "") -> CompositeFunction:
    return _primitive(Op.ElementTimes, [x, x], name=name)


def element_divide(left: Any, right: Any, name: str = "") -> CompositeFunction:
    dtype = next((v.dtype for v in (left, right) if isinstance(v, (Variable, Function))), np.float32)
    arguments = [to_variable(left, dtype), to_variable(right, dtype)]
    return make_block("ElementDivide", lambda a, b: element_times(a, reciprocal(b)), arguments, name)


# Products


def times(
    left: Any, right: Any, output_rank: int = 1, infer_input_rank_to_map: int = -1, name: str = ""
) -> CompositeFunction:
    """Matrix product over the last axes of `left` and the first of `right`."""
    attributes = {"outputRank": SizeT(output_rank), "inferInputRankToMap": int(infer_input_rank_to_map)}
    return _primitive(Op.Times, [right, left], attributes, name)


def times_transpose(left: Any, right: Any, name: str = "") -> CompositeFunction:
    """left times the transpose of right."""
    return _primitive(Op.TransposeTimes, [right, left], {"outputRank": SizeT(1)}, name)


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
    """Cross-correlation of images (channels first) with a kernel (outputs, channels, *window)."""
    if sequential or reduction_rank != 1 or not all(sharing):
        raise unavailable("cntk.convolution with sequential, reduction_rank or sharing options")
    rank = len(to_variable(convolution_map).shape) - 1
    zeros = Shape([0] * rank)
    attributes: dict[str, Any] = {
        "kernelShape": Shape([0] * rank),
        "strides": Shape(reversed(sanitize_shape(strides))),
        "sharing": expand([bool(v) for v in sharing][::-1], rank),
        "autoPadding": expand([bool(v) for v in auto_padding][::-1], rank),
        "lowerPad": zeros,
        "upperPad": zeros,
        "dilation": Shape(reversed(sanitize_shape(dilation))),
        "transpose": False,
        "outputShape": Shape([0]),
        "groups": SizeT(groups),
        "maxTempMemSizeInSamples": SizeT(max_temp_mem_size_in_samples),
        "sequential": False,
    }
    return _primitive(Op.Convolution, [convolution_map, operand], attributes, name)


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
        "poolingWindowShape": Shape(reversed(sanitize_shape(pooling_window_shape))),
        "strides": Shape(reversed(sanitize_shape(strides))),
        "autoPadding": [bool(v) for v in auto_padding][::-1],
        "lowerPad": Shape([0]),
        "upperPad": Shape([0]),
        "ceilOutDim": bool(ceil_out_dim),
        "includePad": bool(include_pad),
    }
    return _primitive(Op.Pooling, [operand], attributes, name)


def dropout(x: Any, dropout_rate: float = 0.0, seed: int = AUTO_SEED, name: str = "") -> CompositeFunction:
    """Zero a random part in training and scale up the rest; the identity in evaluation."""
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError("dropout_rate must be in the interval [0,1)")
    attributes = {
        "dropoutRate": float(dropout_rate),
        "rngSeed": SizeT(resolve_seed(seed)),
        "rngOffset": SizeT(0),
    }
    return _primitive(Op.Dropout, [x], attributes, name)


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
    if running_count is None:
        running_count = Constant(0.0, ())
    attributes = {
        "spatial": bool(spatial),
        "normalizationTimeConstant": float(normalization_time_constant),
        "blendTimeConstant": float(blend_time_constant),
        "epsilon": float(epsilon),
        "useCuDNNEngine": bool(use_cudnn_engine),
        "disableRegularization": bool(disable_regularization),
    }
    operands = [operand, scale, bias, running_mean, running_inv_std, running_count]
    return _primitive(Op.BatchNormalization, operands, attributes, name)


# Shape and reduction


def reshape(
    x: Any, shape: Any, begin_axis: Any = None, end_axis: Any = None, name: str = ""
) -> CompositeFunction:
    """The same elements in another shape; one dimension may be -1."""
    if begin_axis is not None or end_axis is not None:
        raise unavailable("cntk.reshape with begin_axis or end_axis")
    stored = [INFERRED_DIMENSION if dim == -1 else dim for dim in reversed(sanitize_shape(shape))]
    attributes = {
        "newShape": Shape(stored),
        "beginAxis": AxisValue(0, "staticAxisIdx=0", True),
        "endAxis": AxisValue(-1, "staticAxisIdx=-1", True),
    }
    return _primitive(Op.Reshape, [x], attributes, name)


def _reduction(kind: str, x: Any, axis: Any, keepdims: bool, name: str) -> CompositeFunction:
    if isinstance(axis, Axis) and axis != Axis.all_static_axes():
        raise unavailable(f"cntk.reduce over {axis!r}")
    if axis is None or isinstance(axis, Axis):
        where: dict[str, Any] = {"axis": AxisValue(ALL_STATIC_AXES, "AllStaticAxes", False)}
        keepdims = False
    else:
        axes = [axis] if is_scalar(axis) else list(axis)
        stored = [AxisValue(-1 - a, f"staticAxisIdx={-1 - a}", True) for a in axes]
        where = {"axis": stored[0]} if len(stored) == 1 else {"axisVec": stored}
    attributes = {**where, "reductionOpName": kind, "reductionKeepDimensions": bool(keepdims)}
    return make_block(
        "ReduceElements",
        lambda v: _primitive(Op.ReduceElements, [v], dict(attributes)),
        [x],
        name,
        dict(attributes),
    )


def reduce_sum(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Sum", x, axis, keepdims, name)


def reduce_mean(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Mean", x, axis, keepdims, name)


def reduce_max(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Max", x, axis, keepdims, name)


def reduce_min(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("Min", x, axis, keepdims, name)


def reduce_log_sum_exp(x: Any, axis: Any = None, keepdims: bool = True, name: str = "") -> CompositeFunction:
    return _reduction("LogSum", x, axis, keepdims, name)


# Graph


def combine(*operands: Any, name: str = "") -> CompositeFunction:
    """One function with the outputs of several."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    variables: list[Variable] = []
    for operand in operands:
        variables.extend(operand.outputs if isinstance(operand, Function) else [to_variable(operand)])
    return _primitive(Op.Combine, variables, name=name)


def as_composite(root_function: Function, name: str = "") -> CompositeFunction:
    return root_function.root_function.composite()


__all__ = [
    "AVG_POOLING",
    "MAX_POOLING",
    "BlockFunction",
    "CloneMethod",
    "Function",
    "ModelFormat",
    "abs",
    "alias",
    "as_composite",
    "batch_normalization",
    "combine",
    "constant",
    "convolution",
    "cos",
    "dropout",
    "element_divide",
    "element_times",
    "exp",
    "floor",
    "hardmax",
    "input",
    "input_variable",
    "log",
    "minus",
    "negate",
    "parameter",
    "placeholder",
    "plus",
    "pooling",
    "reciprocal",
    "reduce_log_sum_exp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_sum",
    "relu",
    "reshape",
    "sigmoid",
    "sin",
    "softmax",
    "sqrt",
    "square",
    "stop_gradient",
    "tanh",
    "times",
    "times_transpose",
]

__getattr__ = module_getattr("cntk.ops")
