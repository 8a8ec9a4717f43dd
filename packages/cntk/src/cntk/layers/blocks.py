"""What the layers share."""

from __future__ import annotations

from typing import Any

from ..internal.missing import module_getattr
from ..ops import combine
from ..variables import Variable


def identity(keep: Any) -> Any:
    """The function that returns its argument: a bare variable becomes a function of itself."""
    return combine([keep]) if isinstance(keep, Variable) else keep


def as_activation(activation: Any) -> Any:
    """`activation=None` is the identity."""
    return identity if activation is None else activation


__getattr__ = module_getattr("cntk.layers.blocks")
