"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

from ..internal.missing import module_getattr
from ..ops.functions import Function
from ..variables import Variable
from .blocks import identity, with_name


def _applied(layer: Any, value: Any) -> Any:
    """A layer on a value; a list of layers one after the other, a tuple of layers beside each other: each on
    its own one of several values, or all on a single one."""
    if isinstance(layer, list):
        for part in layer:
            value = _applied(part, value)
        return value
    if isinstance(value, Function) and len(value.outputs) > 1:
        value = value.outputs
    if isinstance(layer, tuple):
        values = value if isinstance(value, tuple) else (value,) * len(layer)
        if len(values) != len(layer):
            raise TypeError(f"{len(layer)} functions beside each other cannot take {len(values)} values")
        return tuple(_applied(part, each) for part, each in zip(layer, values, strict=True))
    return layer(*value) if isinstance(value, tuple) else layer(value)


def Sequential(layers: Sequence[Any], name: str = "") -> Function:
    """Apply the layers one after the other; lists nest, tuples fan out."""
    start = Variable(name="keep", dynamic_axes=None, kind="Placeholder")
    if not isinstance(layers, (list, tuple)):
        layers = [layers]
    value = _applied(list(layers), start)
    if isinstance(value, tuple):
        from ..ops import combine

        value = combine(list(value))
    result: Function = identity if value is start else value
    made: Function = with_name(result, name)
    return made


def For(what_range: Iterable[Any], constructor: Callable[..., Any], name: str = "") -> Function:
    """`Sequential` over constructor(i) (or constructor() when it takes no argument).

    Raises TypeError for a layer in the place of what makes layers.
    """
    if isinstance(constructor, Function):
        raise TypeError("For: the constructor must be a Python function that makes a layer, not a layer")
    takes_index = len(signature(constructor).parameters) > 0
    return Sequential([constructor(i) if takes_index else constructor() for i in what_range], name)


def SequentialClique(functions: Sequence[Any], name: str = "") -> Any:
    """Each layer gets the sum of the input and of all results before it."""

    def clique(x: Any) -> Any:
        result = x
        for function in functions:
            result = function(x)
            x = x + result
        return result

    return with_name(clique, name)


def ResNetBlock(f: Any, name: str = "") -> Any:
    """f(x) + x."""

    def skip(x: Any) -> Any:
        return f(x) + x

    return with_name(skip, name)


__all__ = ["For", "ResNetBlock", "Sequential", "SequentialClique"]

__getattr__ = module_getattr("cntk.layers.higher_order_layers")
