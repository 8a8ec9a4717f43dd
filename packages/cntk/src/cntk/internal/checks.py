"""What the dictionaries of a model file must hold, checked before the graph is built from them.

A file may be damaged or made to harm: everything behind these checks may rely on types, operand counts and on
numbers that are no zero divisors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .infer import ELEMENTWISE_BINARY, ELEMENTWISE_UNARY
from .opcodes import Op
from .proto import AxisValue, Float, Shape, SizeT

# CNTK's names for the types of a DictionaryValue.
_NAMES: dict[type, str] = {
    type(None): "None",
    bool: "Bool",
    int: "Int",
    SizeT: "SizeT",
    Float: "Float",
    float: "Double",
    str: "String",
    Shape: "NDShape",
    AxisValue: "Axis",
    list: "Vector",
    dict: "Dictionary",
    np.ndarray: "NDArrayView",
}

# Writers differ in which of the two number types they use.
_INTEGER: tuple[type, ...] = (SizeT, int)
_REAL: tuple[type, ...] = (float, Float)
_FLAG: tuple[type, ...] = (bool,)
_SHAPE: tuple[type, ...] = (Shape,)
_AXIS: tuple[type, ...] = (AxisValue,)
_VECTOR: tuple[type, ...] = (list,)
_TEXT: tuple[type, ...] = (str,)

_Kinds = dict[str, tuple[type, ...]]

# Attributes of the operations that can be computed: (required, optional).
_ATTRIBUTES: dict[Op, tuple[_Kinds, _Kinds]] = {
    Op.Times: ({"outputRank": _INTEGER}, {"inferInputRankToMap": _INTEGER}),
    Op.TransposeTimes: ({"outputRank": _INTEGER}, {}),
    Op.Convolution: (
        {"strides": _SHAPE, "sharing": _VECTOR, "autoPadding": _VECTOR},
        {
            "dilation": _SHAPE,
            "lowerPad": _SHAPE,
            "upperPad": _SHAPE,
            "transpose": _FLAG,
            "sequential": _FLAG,
            "groups": _INTEGER,
        },
    ),
    Op.Pooling: (
        {"poolingType": _INTEGER, "poolingWindowShape": _SHAPE, "strides": _SHAPE, "autoPadding": _VECTOR},
        {"lowerPad": _SHAPE, "upperPad": _SHAPE, "ceilOutDim": _FLAG, "includePad": _FLAG},
    ),
    Op.ReduceElements: (
        {"reductionOpName": _TEXT},
        {"axis": _AXIS, "axisVec": _VECTOR, "reductionKeepDimensions": _FLAG},
    ),
    Op.Reshape: ({"newShape": _SHAPE}, {"beginAxis": _AXIS, "endAxis": _AXIS}),
    Op.Dropout: ({"dropoutRate": _REAL}, {"rngSeed": _INTEGER}),
    Op.BatchNormalization: (
        {"spatial": _FLAG, "epsilon": _REAL, "normalizationTimeConstant": _REAL},
        {"blendTimeConstant": _REAL},
    ),
}
_ELEMENTS: _Kinds = {"sharing": _FLAG, "autoPadding": _FLAG, "axisVec": _AXIS}
_AT_LEAST_ONE = ("strides", "dilation", "poolingWindowShape", "groups")

_OPERANDS: dict[Op, range] = {
    **dict.fromkeys(ELEMENTWISE_UNARY, range(1, 2)),
    **dict.fromkeys(ELEMENTWISE_BINARY, range(2, 3)),
    **dict.fromkeys((Op.Times, Op.TransposeTimes, Op.Convolution), range(2, 3)),
    **dict.fromkeys((Op.Pooling, Op.ReduceElements, Op.Reshape), range(1, 2)),
    # Before version 4 of the operation it had no running count.
    Op.BatchNormalization: range(5, 7),
}


def typed(value: Any, *kinds: type) -> Any:
    """`value` when it is exactly of one of the types; CNTK's error otherwise."""
    if type(value) not in kinds:
        raise RuntimeError(
            f"Reading a DictionaryValue as the wrong type; Reading as type {_NAMES[kinds[0]]} when actual "
            f"type is {_NAMES[type(value)]}"
        )
    return value


def vector(value: Any, *kinds: type) -> list[Any]:
    """A Vector whose elements are all of one of the types."""
    return [typed(item, *kinds) for item in typed(value, list)]


def required(entry: Any, key: str, what: str, current: int) -> Any:
    """The value of a key that a dictionary must have."""
    if key not in typed(entry, dict):
        version = entry.get("version")
        detail = (
            f" (Current {what} version = {current}, Dictionary version = {version})"
            if version is not None
            else ""
        )
        raise RuntimeError(f"Required key '{key}' is not found in the dictionary{detail}.")
    return entry[key]


def _positive(values: Any, key: str) -> None:
    numbers: Iterable[int] = values if isinstance(values, tuple) else (values,)
    if not values or any(number < 1 for number in numbers):
        raise ValueError(f"The attribute '{key}' of a function in a model must be positive, not {values}.")


def check_function(op: Op, operands: int, attributes: dict[str, Any]) -> None:
    """Whether a primitive function has the operands and attributes its operation needs."""
    if op in _OPERANDS and operands not in _OPERANDS[op]:
        raise RuntimeError(f"A function of the operation {op.name} in a model has {operands} inputs.")
    needed, possible = _ATTRIBUTES.get(op, ({}, {}))
    for key, kinds in (needed | possible).items():
        if key not in attributes and key in possible:
            continue
        value = typed(required(attributes, key, "", 0), *kinds)
        if key in _ELEMENTS:
            vector(value, *_ELEMENTS[key])
        if key in _AT_LEAST_ONE:
            _positive(value, key)
    if op is Op.Dropout and not 0.0 <= attributes["dropoutRate"] < 1.0:
        raise ValueError("dropout_rate must be in the interval [0,1)")
    if op is Op.ReduceElements and not (attributes.get("axisVec") or "axis" in attributes):
        raise RuntimeError("Required key 'axis' is not found in the dictionary.")
    if op is Op.Pooling and attributes["poolingType"] not in (0, 1):
        raise ValueError(f"Unknown pooling type {attributes['poolingType']} in a model.")
