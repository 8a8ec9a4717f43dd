"""Texts of functions: what str() shows of their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axis import Axis
from ..variables import Variable

if TYPE_CHECKING:
    from .base import Function


def type_text(variable: Variable) -> str:
    """`Tensor[3]`, `Sequence[Tensor[3]]`, `SequenceOver[axis][...]`, `ParameterTensor[3]`, `tensor`."""
    if variable._shape is None or not variable.axes_known:
        return "Sequence[tensor]"
    kind = "SparseTensor" if variable.is_sparse else "Tensor"
    if not variable.dynamic_axes:
        kind = "ParameterTensor"
    dims = ["?" if dim == -1 else str(dim) for dim in variable.shape]
    if variable._dtype != np.float32:
        dims.insert(0, f"np.{variable._dtype}")
    tensor = f"{kind}[{','.join(dims)}]" if variable.shape else f"np.{variable._dtype}"
    axis = variable.sequence_axis
    if axis is None:
        return tensor
    return (
        f"Sequence[{tensor}]"
        if axis == Axis.default_dynamic_axis()
        else f"SequenceOver[{axis.name}][{tensor}]"
    )


def check_types(given: Mapping[Variable, Any]) -> None:
    """Raises TypeError when a variable is passed for an argument of another shape."""
    for formal, value in given.items():
        passed = value.output if hasattr(value, "outputs") and len(value.outputs) == 1 else value
        if not isinstance(passed, Variable) or formal._shape is None or passed._shape is None:
            continue
        same = len(formal.shape) == len(passed.shape) and all(
            a == b or min(a, b) < 0 for a, b in zip(formal.shape, passed.shape, strict=True)
        )
        if not same:
            raise TypeError(
                f"argument {formal.name}'s type {type_text(formal)} is incompatible with the type "
                f"{type_text(passed)} of the passed Variable"
            )


def signature_text(function: Function) -> str:
    root = function.root_function
    direct = all(v.owner is None for v in root.operands)
    kind = root.display_name if direct or not function.is_composite else "Composite"
    prefix = f"{root.name}: " if root.name else ""
    arguments = ", ".join(f"{v.name}: {type_text(v)}" if v.name else type_text(v) for v in function.arguments)
    results = ", ".join(type_text(v) for v in function.outputs)
    several = len(function.outputs) != 1
    return f"{prefix}{kind}({arguments}) -> {f'Tuple[{results}]' if several else results}"


def full_text(function: Function) -> str:
    kind = function.root_function.display_name if function.is_composite else function.op_name
    of = function.arguments if function.is_composite else function.root_function.python_operands
    arguments = ", ".join(repr(v) for v in of if v.is_input or v.is_placeholder or v.is_output)
    results = ", ".join(repr(v) for v in function.outputs)
    return f"{f'Composite({kind})' if function.is_composite else kind}: {arguments} -> {results}"
