"""Element-wise operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..internal.opcodes import Op
from ..variables import Variable, sanitize_dtype
from .base import Function
from .construction import constant, primitive
from .nodes import CompositeFunction
from .tracing import make_block, to_variable

Operation = Callable[..., CompositeFunction]


def negate(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Negate, [x], name=name)


def sigmoid(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.StableSigmoid, [x], name=name)


def tanh(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Tanh, [x], name=name)


def relu(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.ReLU, [x], name=name)


def exp(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Exp, [x], name=name)


def log(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Log, [x], name=name)


def sqrt(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Sqrt, [x], name=name)


def floor(arg: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Floor, [arg], name=name)


def ceil(arg: Any, name: str = "") -> CompositeFunction:
    return negate(floor(negate(arg)), name=name)


def round(arg: Any, name: str = "") -> CompositeFunction:
    """To the nearest integer; a half goes up."""
    return floor(plus(arg, 0.5), name=name)


def abs(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Abs, [x], name=name)


def reciprocal(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Reciprocal, [x], name=name)


def square(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.ElementTimes, [x, x], name=name)


def sin(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Sin, [x], name=name)


def cos(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Cos, [x], name=name)


def tan(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Tan, [x], name=name)


def asin(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Asin, [x], name=name)


def acos(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Acos, [x], name=name)


def atan(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Atan, [x], name=name)


def sinh(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Sinh, [x], name=name)


def cosh(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Cosh, [x], name=name)


def asinh(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Asinh, [x], name=name)


def atanh(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Atanh, [x], name=name)


def straight_through_impl(x: Any, name: str = "") -> CompositeFunction:
    """The sign, with a gradient that passes between -1 and 1."""
    return primitive(Op.StraightThrough, [x], name=name)


# Activations that are blocks


def elu(x: Any, alpha: float = 1.0, name: str = "") -> CompositeFunction:
    """x, or alpha (exp(x) - 1) below zero."""
    attributes = {"alpha": float(alpha)}
    return make_block(
        "ELU",
        lambda v: element_select(less(v, 0.0), alpha * (exp(v) - 1.0), v),
        [x],
        name,
        attributes,
    )


def selu(
    x: Any, scale: float = 1.0507009873554804, alpha: float = 1.6732632423543772, name: str = ""
) -> CompositeFunction:
    """scale times elu."""
    attributes = {"alpha": float(alpha), "gamma": float(scale)}
    return make_block(
        "SELU",
        lambda v: scale * element_select(less(v, 0.0), alpha * (exp(v) - 1.0), v),
        [x],
        name,
        attributes,
    )


def leaky_relu(x: Any, alpha: float = 0.01, name: str = "") -> CompositeFunction:
    attributes = {"alpha": float(alpha)}
    return make_block(
        "LeakyReLU", lambda v: element_select(less(v, 0.0), alpha * v, v), [x], name, attributes
    )


def param_relu(alpha: Any, x: Any, name: str = "") -> CompositeFunction:
    """x, or alpha x below zero; alpha is a parameter that broadcasts to x."""
    return make_block(
        "PReLU", lambda a, v: element_select(less(v, 0.0), element_times(a, v), v), [alpha, x], name
    )


def softplus(x: Any, steepness: float = 1, name: str = "") -> CompositeFunction:
    """log(1 + exp(steepness x)) / steepness."""
    if steepness == 1:
        return make_block("Softplus", lambda v: log_add_exp(v, 0.0), [x], name)
    steep = constant(steepness, dtype=_dtype(x))
    return make_block(
        "softplus",
        lambda v: make_block("Softplus", lambda w: log_add_exp(w, 0.0), [steep * v]) / steep,
        [x],
        name,
    )


def softsign(x: Any, steepness: float = 1, name: str = "") -> CompositeFunction:
    """x / (1 + |x|).  As in CNTK the steepness has no effect."""
    return make_block("Softsign", lambda v: element_divide(v, 1.0 + abs(v)), [x], name)


def hard_sigmoid(x: Any, alpha: float, beta: float, name: str = "") -> CompositeFunction:
    """alpha x + beta, kept between 0 and 1."""
    attributes = {"alpha": float(alpha), "beta": float(beta)}
    return make_block(
        "HardSigmoid",
        lambda v: element_max(element_min(alpha * v + beta, 1.0), 0.0),
        [x],
        name,
        attributes,
    )


# With two operands or more


def _dtype(*operands: Any) -> Any:
    return next((v.dtype for v in operands if isinstance(v, (Variable, Function))), np.float32)


def _chain(
    operation: Operation, left: Any, right: Any, more: tuple[Any, ...], name: str
) -> CompositeFunction:
    result = operation(left, right, "" if more else name)
    for i, operand in enumerate(more):
        result = operation(result, operand, name if i == len(more) - 1 else "")
    return result


def _associative(op: Op) -> Operation:
    return lambda left, right, name: primitive(op, [left, right], name=name)


def plus(arg1: Any, arg2: Any, *more: Any, name: str = "") -> CompositeFunction:
    return _chain(_associative(Op.Plus), arg1, arg2, more, name)


def element_times(arg1: Any, arg2: Any, *more: Any, name: str = "") -> CompositeFunction:
    return _chain(_associative(Op.ElementTimes), arg1, arg2, more, name)


def log_add_exp(arg1: Any, arg2: Any, *more: Any, name: str = "") -> CompositeFunction:
    """log(exp(a) + exp(b))."""
    return _chain(_associative(Op.LogPlus), arg1, arg2, more, name)


def element_max(arg1: Any, arg2: Any, *more: Any, name: str = "") -> CompositeFunction:
    def of_two(left: Any, right: Any, name: str) -> CompositeFunction:
        return make_block(
            "ElementMax", lambda a, b: element_select(greater(a, b), a, b), _typed(left, right), name
        )

    return _chain(of_two, arg1, arg2, more, name)


def element_min(arg1: Any, arg2: Any, *more: Any, name: str = "") -> CompositeFunction:
    def of_two(left: Any, right: Any, name: str) -> CompositeFunction:
        return make_block(
            "ElementMin", lambda a, b: element_select(less(a, b), a, b), _typed(left, right), name
        )

    return _chain(of_two, arg1, arg2, more, name)


def _typed(*operands: Any) -> list[Variable]:
    dtype = _dtype(*operands)
    return [to_variable(v, dtype) for v in operands]


def minus(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Minus, [left, right], name=name)


def element_divide(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return make_block(
        "ElementDivide", lambda a, b: element_times(a, reciprocal(b)), _typed(left, right), name
    )


def pow(base: Any, exponent: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Pow, [base, exponent], name=name)


def equal(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Equal, [left, right], name=name)


def not_equal(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.NotEqual, [left, right], name=name)


def less(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Less, [left, right], name=name)


def less_equal(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.LessEqual, [left, right], name=name)


def greater(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Greater, [left, right], name=name)


def greater_equal(left: Any, right: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.GreaterEqual, [left, right], name=name)


def element_not(x: Any, name: str = "") -> CompositeFunction:
    """1 where the value, cut to an integer, is 0; else 0."""
    return make_block("Not", lambda v: equal(v, 0.0), [x], name)


def element_and(x: Any, y: Any, name: str = "") -> CompositeFunction:
    return make_block(
        "And", lambda a, b: greater(element_times(_truth(a), _truth(b)), 0.0), _typed(x, y), name
    )


def element_or(x: Any, y: Any, name: str = "") -> CompositeFunction:
    return make_block("Or", lambda a, b: greater(plus(_truth(a), _truth(b)), 0.0), _typed(x, y), name)


def element_xor(x: Any, y: Any, name: str = "") -> CompositeFunction:
    return make_block("Xor", lambda a, b: not_equal(_truth(a), _truth(b)), _typed(x, y), name)


def _truth(x: Any) -> CompositeFunction:
    return greater(x, 0.0)


def element_select(flag: Any, value_if_true: Any, value_if_false: Any, name: str = "") -> CompositeFunction:
    """One value where the flag is not zero, the other where it is."""
    return primitive(Op.Select, [flag, value_if_true, value_if_false], name=name)


def clip(x: Any, min_value: Any, max_value: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.Clip, [x, min_value, max_value], name=name)


def sum(*operands: Any, name: str = "") -> CompositeFunction:
    """The element-wise sum of all operands."""
    return make_block("Sum", lambda *v: _sum_of(list(v)), _operands(operands), name)


def mean(*operands: Any, name: str = "") -> CompositeFunction:
    """The element-wise mean of all operands."""
    given = _operands(operands)
    return make_block("Mean", lambda *v: _sum_of(list(v)) / float(len(given)), given, name)


def _operands(operands: tuple[Any, ...]) -> list[Any]:
    return (
        list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    )


def _sum_of(operands: list[Any]) -> Any:
    total = operands[0]
    for operand in operands[1:]:
        total = total + operand
    return total


# Of a type or a value


def zeros_like(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.ConstantOp, [x], {"fillValue": 0.0}, name)


def ones_like(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.ConstantOp, [x], {"fillValue": 1.0}, name)


def eye_like(x: Any, sparse_output: bool = True, name: str = "") -> CompositeFunction:
    """The unit matrix of x's shape."""
    return primitive(Op.EyeLikeOp, [x], {"outputSparse": bool(sparse_output)}, name)


_TYPE_CODES = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.float16): 4}


def cast(node_input: Any, dtype: Any, name: str = "") -> CompositeFunction:
    """The same values in another type."""
    return primitive(Op.Cast, [node_input], {"newDataType": _TYPE_CODES[sanitize_dtype(dtype)]}, name)


__all__ = [
    "abs", "acos", "asin", "asinh", "atan", "atanh", "cast", "ceil", "clip", "cos", "cosh", "element_and",
    "element_divide", "element_max", "element_min", "element_not", "element_or", "element_select",
    "element_times", "element_xor", "elu", "equal", "exp", "eye_like", "floor", "greater", "greater_equal",
    "hard_sigmoid", "leaky_relu", "less", "less_equal", "log", "log_add_exp", "mean", "minus", "negate",
    "not_equal", "ones_like", "param_relu", "plus", "pow", "reciprocal", "relu", "round", "selu", "sigmoid",
    "sin", "sinh", "softplus", "softsign", "sqrt", "square", "straight_through_impl", "sum", "tan", "tanh",
    "zeros_like",
]  # fmt: skip
