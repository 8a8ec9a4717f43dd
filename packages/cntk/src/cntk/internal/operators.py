"""Python operators on variables and functions."""

from __future__ import annotations

from typing import Any


def _ops() -> Any:
    from .. import ops  # the operators are defined in terms of the ops, which need the variables

    return ops


class TensorOpsMixin:
    """`+`, `-`, `*`, `/`, `@`, `abs` on anything that stands for a tensor."""

    def __add__(self, other: Any) -> Any:
        return _ops().plus(self, other)

    def __radd__(self, other: Any) -> Any:
        return _ops().plus(other, self)

    def __sub__(self, other: Any) -> Any:
        return _ops().minus(self, other)

    def __rsub__(self, other: Any) -> Any:
        return _ops().minus(other, self)

    def __mul__(self, other: Any) -> Any:
        return _ops().element_times(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _ops().element_times(other, self)

    def __truediv__(self, other: Any) -> Any:
        return _ops().element_divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _ops().element_divide(other, self)

    def __matmul__(self, other: Any) -> Any:
        return _ops().times(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _ops().times(other, self)

    def __neg__(self) -> Any:
        return _ops().negate(self)

    def __abs__(self) -> Any:
        return _ops().abs(self)

    def __getitem__(self, key: Any) -> Any:
        from ..ops.shapes import getitem

        outputs = getattr(self, "outputs", ())
        if len(outputs) > 1:  # of a function with several outputs, one of them
            return outputs[key]
        return getitem(self, key)

    # NumPy must leave `array + variable` to __radd__.
    __array_priority__ = 1000
    __array_ufunc__ = None
