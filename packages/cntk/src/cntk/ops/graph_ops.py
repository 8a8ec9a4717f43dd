"""Operations on the graph itself: they compute nothing, or only carry a value on."""

from __future__ import annotations

from typing import Any

from ..internal.opcodes import Op
from ..variables import Variable
from .base import Function
from .construction import primitive
from .nodes import CompositeFunction
from .tracing import as_block, to_variable


def combine(*operands: Any, name: str = "") -> CompositeFunction:
    """One function with the outputs of several."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    variables: list[Variable] = []
    for operand in operands:
        variables.extend(operand.outputs if isinstance(operand, Function) else [to_variable(operand)])
    return primitive(Op.Combine, variables, name=name)


def as_composite(root_function: Function, name: str = "") -> CompositeFunction:
    return root_function.root_function.composite()


def alias(x: Any, name: str = "") -> CompositeFunction:
    return primitive(Op.NoOp, [x], name=name)


def stop_gradient(input: Any, name: str = "") -> CompositeFunction:
    """The value, through which no gradient goes back."""
    return primitive(Op.StopGradient, [input], name=name)


def assign(ref: Any, input: Any, name: str = "") -> CompositeFunction:
    """The value of `input`, put into the parameter or constant `ref` when it is computed."""
    return primitive(Op.Assign, [ref, input], name=name)


def reconcile_dynamic_axes(x: Any, dynamic_axes_as: Any, name: str = "") -> CompositeFunction:
    """x with the dynamic axes of another tensor."""
    return primitive(Op.ReconcileDynamicAxis, [x, dynamic_axes_as], name=name)


__all__ = [
    "alias", "as_block", "as_composite", "assign", "combine", "reconcile_dynamic_axes", "stop_gradient",
]  # fmt: skip
