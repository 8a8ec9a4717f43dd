"""Shapes of element-wise operations: trailing axes align, unit axes broadcast."""

from __future__ import annotations

from collections.abc import Sequence

from ...variables import FREE, INFERRED, ShapeOrUnknown, Variable, _Stored, shape_text
from ..opcodes import Op
from .values import Attributes

ELEMENTWISE_UNARY = {
    Op.Negate, Op.Sigmoid, Op.StableSigmoid, Op.Tanh, Op.ReLU, Op.Exp, Op.Log, Op.Sqrt, Op.Floor, Op.Abs,
    Op.Reciprocal, Op.Softmax, Op.Hardmax, Op.LogSoftmax, Op.Dropout, Op.NoOp, Op.Pass, Op.StopGradient,
    Op.Sin, Op.Cos, Op.Tan, Op.Asin, Op.Acos, Op.Atan, Op.Sinh, Op.Cosh, Op.Asinh, Op.Atanh, Op.ELU,
    Op.StraightThrough, Op.ConstantOp, Op.Cast, Op.EyeLikeOp,
}  # fmt: skip
ELEMENTWISE_BINARY = {
    Op.Plus, Op.Minus, Op.ElementTimes, Op.LogPlus, Op.Pow, Op.Equal, Op.NotEqual, Op.Less, Op.LessEqual,
    Op.Greater, Op.GreaterEqual,
}  # fmt: skip
ELEMENTWISE_TERNARY = {Op.Select, Op.Clip}


def unary(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    return inputs[0]._shape


def _pair(op: Op, left: Variable, right: Variable, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    padded_a = (1,) * (rank - len(a)) + a
    padded_b = (1,) * (rank - len(b)) + b
    dims = []
    for m, n in zip(padded_a, padded_b, strict=True):
        if m == n or n == 1:
            dims.append(m)
        elif m == 1 or m in (INFERRED, FREE):
            dims.append(n)
        elif n in (INFERRED, FREE):
            dims.append(m)
        else:
            raise RuntimeError(
                f"Binary elementwise operation {op.name}: Left operand '{left!r}' shape '{shape_text(a)}' "
                f"is not compatible with right operand '{right!r}' shape '{shape_text(b)}'."
            )
    for variable, padded in ((left, padded_a), (right, padded_b)):
        if isinstance(variable, _Stored) and INFERRED in variable.shape:
            full = [dim if old == INFERRED else old for old, dim in zip(padded, dims, strict=True)]
            variable.set_inferred_shape(tuple(full[rank - len(variable.shape) :]))
    return tuple(dims)


def broadcast(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    shapes = [v._shape for v in inputs]
    result = shapes[0]
    for i, shape in enumerate(shapes[1:], 1):
        if result is None or shape is None:
            return None
        result = _pair(op, inputs[0] if i == 1 else inputs[i - 1], inputs[i], result, shape)
    return result


RULES = {
    **dict.fromkeys(ELEMENTWISE_UNARY, unary),
    **dict.fromkeys(ELEMENTWISE_BINARY | ELEMENTWISE_TERNARY, broadcast),
}
