"""Helpers that CNTK's own scripts and tests take from its `cntk.internal.utils`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np


def get_data_type(*args: Any) -> type | None:
    """The widest element type of the arguments: that of graph objects, else of data; None for placeholders.

    Raises ValueError for a function with several outputs and for arrays of other types than float32, float64.
    """
    from ..core import NDArrayView, Value
    from ..ops.base import Function
    from ..variables import Variable

    of_graph: set[type] = set()
    of_data: set[type] = set()
    for arg in args:
        if isinstance(arg, Function):
            outputs = arg.outputs
            if len(outputs) > 1:
                raise ValueError(f"expected single output, but got {len(outputs)}")
            arg = outputs[0]
        if isinstance(arg, Variable):
            if not arg.is_placeholder:
                of_graph.add(arg.dtype)
        elif isinstance(arg, (Value, NDArrayView)):
            of_graph.add(arg.dtype)
        elif isinstance(arg, np.ndarray):
            if arg.dtype not in (np.float32, np.float64, np.float16, np.int8, np.int16):
                raise ValueError(f'NumPy type "{arg.dtype}" is not supported')
            of_data.add(arg.dtype.type)
        elif isinstance(arg, np.floating):
            of_data.add(type(arg))
        else:
            np.asarray(arg, dtype=np.float32)
            of_data.add(np.float32)
    for found in (of_graph, of_data):
        if found:
            return max(found, key=lambda kind: np.dtype(kind).itemsize)
    return None


def get_python_function_arguments(f: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """(names of the arguments without defaults, annotations)."""
    spec = inspect.getfullargspec(f)
    optional = len(spec.defaults or ())
    return spec.args[: len(spec.args) - optional], spec.annotations


def _ones_like(batch: Iterable[Any], precision: Any) -> list[np.ndarray]:
    """The batch with all values 1."""
    from .sanitize import sanitize_precision

    return [np.ones_like(sample, dtype=sanitize_precision(precision)) for sample in batch]


def eval(
    op: Any,
    arguments: Any = None,
    precision: Any = None,
    device: Any = None,
    backward_pass: bool = False,
    expected_backward: Any = None,
) -> tuple[dict[Any, Any], dict[Any, Any] | None]:
    """(values of the outputs, with `backward_pass` also gradients of the arguments for root gradients 1)."""
    if not backward_pass:
        return op.forward(arguments, op.outputs, None, device=device)[1], None
    state, values = op.forward(arguments, op.outputs, op.outputs, device=device)
    roots = {variable: _ones_like(value, precision) for variable, value in values.items()}
    wanted = arguments if expected_backward is None else expected_backward
    return values, op.backward(state, roots, wanted)


def map_function_arguments(
    params: Sequence[Any], params_dict: dict[str, Any], *args: Any, **kwargs: Any
) -> dict[Any, Any]:
    """What each parameter is given, by position or by name.

    Raises TypeError for an unknown name, SyntaxError for one given twice.
    """
    given = dict(zip(params, args, strict=False))
    for name, value in kwargs.items():
        if name not in params_dict:
            raise TypeError(f"got an unexpected keyword argument '{name}'")
        if params_dict[name] in given:
            raise SyntaxError(f"got multiple values for argument '{name}'")
        given[params_dict[name]] = value
    return given
