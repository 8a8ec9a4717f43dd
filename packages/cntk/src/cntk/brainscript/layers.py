"""The library that network descriptions use, in terms of the Python API.

Shapes are written width : height : channels, the reverse of Python's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import initializer, ops
from .. import layers as L
from ..axis import Axis
from ..losses import cross_entropy_with_softmax, squared_error
from ..metrics import classification_error
from ..ops.functions import Function
from ..variables import Variable
from .config import ConfigError
from .expressions import Evaluator, Scope


class Node:
    """A node of the network; it takes the name of its definition."""

    def __init__(self, value: Variable | Function, kind: str = ""):
        self.value = value
        self.kind = kind
        self.name = ""

    def named(self, name: str) -> Node:
        if not self.name:
            self.name = name
            if isinstance(self.value, Variable) and not self.value.name:
                self.value.name = name
        return self


def _value(thing: Any) -> Any:
    return thing.value if isinstance(thing, Node) else thing


def _numbers(thing: Any) -> tuple[int, ...]:
    """A shape of the description as Python's."""
    parts = thing if isinstance(thing, list) else [thing]
    if not all(isinstance(part, float) and part == int(part) and part > 0 for part in parts):
        raise ConfigError(f"a shape of positive whole numbers expected, not {thing!r}")
    return tuple(int(part) for part in reversed(parts))


def _operation(number: Callable[[float, float], float], node: Callable[..., Any]) -> Any:
    def run(a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float):
            try:
                return number(a, b)
            except ZeroDivisionError:
                raise ConfigError("a division by zero") from None
        if isinstance(a, (float, Node)) and isinstance(b, (float, Node)):
            return Node(node(_value(a), _value(b)))
        raise ConfigError("an operator on something that is neither number nor node")

    return run


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, (int, float)) or isinstance(b, (int, float)):
        return ops.element_times(a, b)
    # In column-major terms the left matrix multiplies the right vector.
    return ops.times(b, a)


OPERATIONS = {
    "+": _operation(lambda a, b: a + b, ops.plus),
    "-": _operation(lambda a, b: a - b, ops.minus),
    "*": _operation(lambda a, b: a * b, _times),
    "/": _operation(lambda a, b: a / b, ops.element_divide),
    ".*": _operation(lambda a, b: a * b, ops.element_times),
}


def _unary(function: Callable[..., Any]) -> Callable[[Any], Node]:
    return lambda x: Node(function(_value(x)))


def _initial(init: str, scale: float) -> Any:
    known: dict[str, Callable[..., Any]] = {
        "glorotuniform": initializer.glorot_uniform,
        "glorotnormal": initializer.glorot_normal,
        "henormal": initializer.he_normal,
        "heuniform": initializer.he_uniform,
        "xavier": initializer.xavier,
        "uniform": lambda scale: initializer.uniform(0.05 * scale),
        "gaussian": lambda scale: initializer.normal(0.2 * scale),
    }
    if init.lower() not in known:
        raise ConfigError(f"unknown initialisation '{init}'")
    return known[init.lower()](scale=scale)


def _activated(layer: Any, activation: Any) -> Callable[[Any], Node]:
    def apply(x: Any) -> Node:
        result = Node(layer(_value(x)))
        applied: Node = activation(result) if activation is not None else result
        return applied

    return apply


def _dense(
    outDim: Any,
    activation: Any = None,
    bias: bool = True,
    init: str = "glorotUniform",
    initValueScale: float = 1.0,
) -> Callable[[Any], Node]:
    shape = _numbers(outDim)
    layer = L.Dense(shape, activation=None, init=_initial(init, initValueScale), bias=bias)
    return _activated(layer, activation)


def _convolution(
    numOutputChannels: Any,
    filterShape: Any,
    activation: Any = None,
    stride: Any = 1.0,
    pad: bool = False,
    bias: bool = True,
    init: str = "glorotUniform",
    initValueScale: float = 1.0,
) -> Callable[[Any], Node]:
    (channels,) = _numbers(numOutputChannels)
    strides = _numbers(stride)
    layer = L.Convolution(
        _numbers(filterShape),
        channels,
        activation=None,
        init=_initial(init, initValueScale),
        pad=pad,
        strides=strides if len(strides) > 1 else strides[0],
        bias=bias,
    )
    return _activated(layer, activation)


def _pooling(make: Callable[..., Any]) -> Callable[..., Callable[[Any], Node]]:
    def layer(filterShape: Any, stride: Any = 1.0, pad: bool = False) -> Callable[[Any], Node]:
        strides = _numbers(stride)
        made = make(_numbers(filterShape), strides=strides if len(strides) > 1 else strides[0], pad=pad)
        return lambda x: Node(made(_value(x)))

    return layer


def _normalization(
    spatialRank: float = 0.0,
    initialScale: float = 1.0,
    normalizationTimeConstant: float = 5000.0,
    blendTimeConstant: float = 0.0,
    epsilon: float = 0.00001,
    useCntkEngine: bool = True,
) -> Callable[[Any], Node]:
    made = L.BatchNormalization(
        map_rank=1 if spatialRank else None,
        init_scale=initialScale,
        normalization_time_constant=normalizationTimeConstant,
        blend_time_constant=blendTimeConstant,
        epsilon=epsilon,
        use_cntk_engine=useCntkEngine,
    )
    return lambda x: Node(made(_value(x)))


def _sequential(parts: Any) -> Callable[[Any], Any]:
    chain = parts if isinstance(parts, list) else [parts]

    def apply(x: Any) -> Any:
        for part in chain:
            if not callable(part):
                raise ConfigError("Sequential takes functions, separated by ':'")
            x = part(x)
        return x

    return apply


def _input(dims: Any, dynamicAxis: Any = None, tag: str = "") -> Node:
    return Node(ops.input_variable(_numbers(dims)))


def _criterion(function: Callable[..., Any], kind: str) -> Callable[[Any, Any], Node]:
    # The label comes first in descriptions.
    return lambda label, output: Node(function(_value(output), _value(label)), kind)


def _error(label: Any, output: Any, topN: float = 1.0) -> Node:
    return Node(classification_error(_value(output), _value(label), topN=int(topN)), "error")


def _reduction(function: Callable[..., Any]) -> Callable[..., Node]:
    """Axes are counted from 1, the fastest one first: Python's last.  Without one over all of a sample."""

    def reduce(x: Any, axis: float = 0.0) -> Node:
        over = Axis.all_static_axes() if axis == 0 else -int(axis)
        return Node(function(_value(x), over))

    return reduce


def library(dropout_rate: float) -> Scope:
    """The names a description may use.  The rate of its Dropout nodes is the training's."""

    def dropout(x: Any) -> Node:
        return Node(ops.dropout(_value(x), dropout_rate))

    values: dict[str, Any] = {
        "Constant": lambda value: Node(ops.constant(np.float32(value))),
        "Input": _input,
        "Sequential": _sequential,
        "Identity": lambda x: x,
        "ReLU": _unary(ops.relu),
        "RectifiedLinear": _unary(ops.relu),
        "Sigmoid": _unary(ops.sigmoid),
        "Tanh": _unary(ops.tanh),
        "Softmax": _unary(ops.softmax),
        "Exp": _unary(ops.exp),
        "Log": _unary(ops.log),
        "LogSoftmax": _unary(ops.log_softmax),
        "Hardmax": _unary(ops.hardmax),
        "Sqrt": _unary(ops.sqrt),
        "Abs": _unary(ops.abs),
        "Negate": _unary(ops.negate),
        "Reciprocal": _unary(ops.reciprocal),
        "Floor": _unary(ops.floor),
        "ReduceSum": _reduction(ops.reduce_sum),
        "ReduceMean": _reduction(ops.reduce_mean),
        "ReduceMax": _reduction(ops.reduce_max),
        "ReduceMin": _reduction(ops.reduce_min),
        "ReduceLogSum": _reduction(ops.reduce_log_sum_exp),
        "Dropout": dropout,
        "Plus": OPERATIONS["+"],
        "Minus": OPERATIONS["-"],
        "ElementTimes": OPERATIONS[".*"],
        "DenseLayer": _dense,
        "LinearLayer": lambda outDim, **options: _dense(outDim, None, **options),
        "ConvolutionalLayer": _convolution,
        "MaxPoolingLayer": _pooling(L.MaxPooling),
        "AveragePoolingLayer": _pooling(L.AveragePooling),
        "BatchNormalizationLayer": _normalization,
        "CrossEntropyWithSoftmax": _criterion(cross_entropy_with_softmax, "entropy"),
        "ClassificationError": _error,
        "ErrorPrediction": _error,
        "SquareError": _criterion(squared_error, "square"),
        "Pi": math.pi,
    }
    return Scope(None, values)


def network(text: str, dropout_rate: float) -> dict[str, list[Node]]:
    """The special nodes (features, labels, criteria, evaluations, outputs) of a description's `{...}`.

    Raises ConfigError for a description that does not make sense or lacks them.
    """
    scope = Evaluator(OPERATIONS).record(text.strip()[1:-1], library(dropout_rate))
    result: dict[str, list[Node]] = {}
    for group in ("feature", "label", "criterion", "evaluation", "output"):
        name = f"{group}Nodes"
        nodes = scope.get(name) if name in scope.names() else []
        nodes = nodes if isinstance(nodes, list) else [nodes]
        if not all(isinstance(node, Node) for node in nodes):
            raise ConfigError(f"{name} must list nodes")
        result[group] = nodes
    if len(result["criterion"]) != 1:
        raise ConfigError("criterionNodes must name one node")
    # What is measured but no special node is there for later evaluations.
    known = [node for nodes in result.values() for node in nodes]
    values = [scope.get(name) for name in scope.names()]
    others = [v for v in values if isinstance(v, Node) and v.kind and v not in known]
    result["other"] = list(dict.fromkeys(others))
    return result
