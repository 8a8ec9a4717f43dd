"""Element-wise operations, with CNTK's values and gradients at kinks and ties."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F

from ..opcodes import Op
from .node import Kernel, Node, aligned


class _StraightThrough(torch.autograd.Function):
    """The sign, whose gradient passes where |x| <= 1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class _Logarithm(torch.autograd.Function):
    """log(x), at most steep as at 1e-37: below that (and below 0) it is CNTK's -85.1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.where(x < 1e-37, -85.1, torch.log(x))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return gradient * torch.exp(-y)  # of the result, as CNTK takes it


class _Exponential(torch.autograd.Function):
    """exp(x); where nothing comes back nothing goes on, also of an infinite result."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.where(gradient == 0, 0.0, gradient * y)


class _Root(torch.autograd.Function):
    """The square root, of a negative number 0."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.sqrt(x.clamp(min=0.0))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return gradient / (2.0 * y)


class _Power(torch.autograd.Function):
    """base ** exponent; the exponent of a base that is not positive gets no gradient."""

    @staticmethod
    def forward(ctx: Any, base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
        y = torch.pow(base, exponent)
        ctx.save_for_backward(base, exponent, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        base, exponent, y = ctx.saved_tensors
        of_base = of_exponent = None
        if ctx.needs_input_grad[0]:
            of_base = (gradient * exponent * torch.pow(base, exponent - 1)).sum_to_size(base.shape)
        if ctx.needs_input_grad[1]:
            slope = torch.where(base > 0, y * torch.log(base), 0.0)
            of_exponent = (gradient * slope).sum_to_size(exponent.shape)
        return of_base, of_exponent


def _reciprocal(x: torch.Tensor) -> torch.Tensor:
    """1/x; as in CNTK the reciprocal of 0 is 0."""
    return torch.reciprocal(torch.where(x == 0, torch.inf, x))


_UNARY: dict[Op, Kernel] = {
    Op.Negate: torch.neg,
    Op.Sigmoid: torch.sigmoid,
    Op.StableSigmoid: torch.sigmoid,
    Op.Tanh: torch.tanh,
    Op.ReLU: torch.relu,
    Op.Exp: _Exponential.apply,
    Op.Log: _Logarithm.apply,
    Op.Sqrt: _Root.apply,
    Op.Floor: torch.floor,
    Op.Abs: torch.abs,
    Op.Reciprocal: _reciprocal,
    Op.Sin: torch.sin,
    Op.Cos: torch.cos,
    Op.Tan: torch.tan,
    Op.Asin: torch.asin,
    Op.Acos: torch.acos,
    Op.Atan: torch.atan,
    Op.Sinh: torch.sinh,
    Op.Cosh: torch.cosh,
    Op.Asinh: torch.asinh,
    Op.Atanh: torch.atanh,
    Op.ELU: F.elu,
    Op.NoOp: lambda x: x,
    Op.Pass: lambda x: x,
    Op.StopGradient: torch.Tensor.detach,
    Op.StraightThrough: _StraightThrough.apply,
}


def unary(node: Node) -> Kernel:
    return _UNARY[node.op]


def _comparison(compare: Any) -> Kernel:
    return lambda a, b: compare(a, b).to(a.dtype)


_BINARY: dict[Op, Kernel] = {
    Op.Plus: torch.add,
    Op.Minus: torch.sub,
    Op.ElementTimes: torch.mul,
    Op.LogPlus: torch.logaddexp,
    Op.Pow: _Power.apply,
    Op.Equal: _comparison(operator.eq),
    Op.NotEqual: _comparison(operator.ne),
    Op.Less: _comparison(operator.lt),
    Op.LessEqual: _comparison(operator.le),
    Op.Greater: _comparison(operator.gt),
    Op.GreaterEqual: _comparison(operator.ge),
}


def binary(node: Node) -> Kernel:
    function = _BINARY[node.op]
    left, right = aligned(node, 0), aligned(node, 1)
    if left is None and right is None:
        return function
    return lambda a, b: function(left(a) if left else a, right(b) if right else b)


def _broadcasting(node: Node, function: Kernel) -> Kernel:
    """A function of tensors that are brought to the result's axes first."""
    views = [aligned(node, i) for i in range(len(node.operands))]

    def run(*operands: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = function(
            *[view(x) if view else x for view, x in zip(views, operands, strict=True)]
        )
        return result

    return run


def select(node: Node) -> Kernel:
    return _broadcasting(node, lambda flag, yes, no: torch.where(flag != 0, yes, no))


def clip(node: Node) -> Kernel:
    """Values outside pass no gradient; those on a limit do."""
    return _broadcasting(node, lambda x, low, high: torch.where(x < low, low, torch.where(x > high, high, x)))


def constant(node: Node) -> Kernel:
    fill = float(node.attributes["fillValue"])
    return lambda x: torch.full_like(x, fill, requires_grad=False)


_TORCH_TYPES = {1: torch.float32, 2: torch.float64, 4: torch.float16}


def cast(node: Node) -> Kernel:
    dtype = _TORCH_TYPES[int(node.attributes["newDataType"])]
    return lambda x: x.to(dtype)


def eye_like(node: Node) -> Kernel:
    return lambda x: torch.eye(*x.shape[-2:], dtype=x.dtype, device=x.device).expand_as(x)


BUILDERS: dict[Op, Any] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    Op.Select: select,
    Op.Clip: clip,
    Op.ConstantOp: constant,
    Op.Cast: cast,
    Op.EyeLikeOp: eye_like,
}
