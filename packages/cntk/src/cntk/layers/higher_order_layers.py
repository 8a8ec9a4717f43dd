"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

from ..internal.missing import module_getattr
from ..ops.functions import Function
from ..variables import Variable


def _flatten(layers: Any) -> Iterable[Callable[[Any], Any]]:
    if isinstance(layers, (list, tuple)):
        for layer in layers:
            yield from _flatten(layer)
    else:
        yield layers


def Sequential(layers: Sequence[Any], name: str = "") -> Function:
    """Apply the layers one after the other; lists nest."""
    from .. import ops

    result: Any = Variable(name="x", kind="Placeholder")
    for layer in _flatten(layers):
        result = layer(result)
    if isinstance(result, Variable):
        return ops.combine([result], name=name)
    applied: Function = result
    return ops.alias(applied, name) if name else applied


def For(what_range: Iterable[int], constructor: Callable[..., Any], name: str = "") -> Function:
    """`Sequential` over constructor(i) (or constructor() when it takes no argument)."""
    takes_index = len(signature(constructor).parameters) > 0
    return Sequential([constructor(i) if takes_index else constructor() for i in what_range], name)


__getattr__ = module_getattr("cntk.layers.higher_order_layers")
