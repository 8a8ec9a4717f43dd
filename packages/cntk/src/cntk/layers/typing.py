"""Types for the arguments of functions: `Tensor[3]`, `Sequence[Tensor[3]]`, `SparseTensor[1000]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..axis import Axis
from ..internal.missing import module_getattr
from ..ops.functions import Function
from ..ops.text import type_text
from ..variables import Record, Variable, sanitize_shape

_BATCH = (Axis.default_batch_axis(),)


class VariableType(Record):
    """What a type says of a variable; `input_variable(**Tensor[3])` makes one of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"abstract type {self} cannot be instantiated; use 'input_variable(**{self})' instead"
        )

    def __str__(self) -> str:
        return type_text(self.variable(""))

    __repr__ = __str__

    def variable(self, name: str, kind: str = "Placeholder") -> Variable:
        return Variable(
            self["shape"],
            is_sparse=self["is_sparse"],
            dynamic_axes=self["dynamic_axes"],
            name=name,
            kind=kind,
        )


class _TensorType:
    def __init__(self, is_sparse: bool, axes: tuple[Axis, ...]):
        self._is_sparse = is_sparse
        self._axes = axes

    def __getitem__(self, shape: Any) -> VariableType:
        return VariableType(
            shape=sanitize_shape(shape), is_sparse=self._is_sparse, dynamic_axes=list(self._axes)
        )


class _SequenceType:
    def __init__(self, axis: Axis):
        self._axis = axis

    def __getitem__(self, item: Any) -> VariableType:
        if not isinstance(item, VariableType):
            raise TypeError("Sequence[...]: the item must be a tensor type")
        if len(item["dynamic_axes"]) > 1:
            raise TypeError("sequences over sequences are currently not supported")
        return VariableType(**{**item, "dynamic_axes": [*_BATCH, self._axis]})


class _SequenceOverType:
    def __getitem__(self, axis: Axis) -> _SequenceType:
        return _SequenceType(axis)


Tensor = _TensorType(False, _BATCH)
SparseTensor = _TensorType(True, _BATCH)
ParameterTensor = _TensorType(False, ())
Sequence = _SequenceType(Axis.default_dynamic_axis())
SequenceOver = _SequenceOverType()
tensor = Tensor[-2]  # of any shape


def Signature(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Decorator: a function of typed arguments, `@Function` made of it with these types."""

    def decorate(function: Any) -> Any:
        from ..ops.tracing import argument_names

        names = argument_names(function)
        function.__annotations__ = {**dict(zip(names, args, strict=False)), **kwargs}
        return function

    return decorate


__all__ = [
    "Axis", "Function", "ParameterTensor", "Record", "Sequence", "SequenceOver", "Signature", "SparseTensor",
    "Tensor", "Variable", "VariableType", "tensor",
]  # fmt: skip

__getattr__ = module_getattr("cntk.layers.typing")
