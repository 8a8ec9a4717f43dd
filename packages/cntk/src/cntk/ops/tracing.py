"""Python functions made into functions of the graph: traced once, with placeholders for the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..internal import graph
from ..internal.opcodes import Op
from ..variables import Constant, Parameter, Variable, is_scalar
from .base import Function, NamedOutput, being_traced
from .nodes import CompositeFunction, PrimitiveFunction


def to_variable(value: Any, dtype: Any = np.float32) -> Variable:
    """A variable, a function's only output, or a constant for a number or an array."""
    if isinstance(value, Variable):
        return value
    if isinstance(value, Function):
        return value.output
    if is_scalar(value) and not isinstance(value, str):
        number = Constant(float(value), (), dtype)
        number.literal = True
        return number
    if isinstance(value, (np.ndarray, list, tuple)):
        return Constant(np.asarray(value, dtype=dtype), dtype=dtype)
    if isinstance(value, str):
        return Constant(np.dtype(dtype).type(float(value)), (), dtype)
    if hasattr(value, "variable") and isinstance(value, dict):
        raise ValueError(
            f"Input is a type object ({value}). Did you mean to pass 'input_variable(**{value})'?"
        )
    raise ValueError(f"could not convert instance of type {type(value)} to an array")


def _formal(name: str) -> Variable:
    return Variable(name=name, dynamic_axes=None, kind="Placeholder")


def _block(
    op_name: str,
    traced: Function,
    mapping: dict[Variable, Variable],
    name: str,
    attributes: dict[str, Any] | None,
) -> CompositeFunction:
    root = traced.root_function
    inner = CompositeFunction(root)
    leaves = graph.leaves(root)
    owned = [v for v in leaves if isinstance(v, (Parameter, Constant))]
    for variable in leaves:
        if variable not in mapping and not isinstance(variable, (Parameter, Constant)):
            raise ValueError(f"block {op_name}: {variable!r} must be an argument of the block")
    return PrimitiveFunction(
        Op.Block,
        [*owned, *mapping.values()],
        attributes,
        name,
        body=inner,
        block_name=op_name,
        block_arguments=mapping,
    ).composite()


def make_block(
    op_name: str,
    body: Callable[..., Any],
    arguments: Sequence[Any],
    name: str = "",
    attributes: dict[str, Any] | None = None,
) -> CompositeFunction:
    """A block around `body`: traced with placeholders, applied to `arguments`."""
    dtype = next((v.dtype for v in arguments if isinstance(v, (Variable, Function))), np.float32)
    actual = [to_variable(argument, dtype) for argument in arguments]
    formal = []
    for v in actual:
        variable = Variable(v._shape, v._dtype, dynamic_axes=v._dynamic_axes, name=v.name, kind="Placeholder")
        variable.actual = v
        variable.pending = v.pending
        formal.append(variable)
    traced = _as_function(body(*formal))
    return _block(op_name, traced, dict(zip(formal, actual, strict=True)), name, attributes)


def as_block(
    composite: Function,
    block_arguments_map: Sequence[tuple[Any, Any]],
    block_op_name: str,
    block_instance_name: str = "",
) -> CompositeFunction:
    """Make a function with placeholders into one block, applied to the variables of the map."""
    mapping = {to_variable(formal): to_variable(actual) for formal, actual in block_arguments_map}
    return _block(block_op_name, composite, mapping, block_instance_name, None)


def _as_function(result: Any) -> Function:
    """What a traced Python function returned, as one function: several results are combined."""
    from .graph_ops import combine

    if isinstance(result, NamedOutput):
        return result.function()
    if isinstance(result, Function):
        return result
    if isinstance(result, Variable):
        return combine([result])
    if isinstance(result, (tuple, list)):
        parts = [part.function() if isinstance(part, NamedOutput) else part for part in result]
        return combine([variable for part in parts for variable in _outputs(part)])
    raise ValueError(f"a traced function must return functions or variables, not {type(result)}")


def _outputs(part: Any) -> tuple[Variable, ...]:
    return part.outputs if isinstance(part, Function) else (to_variable(part),)


def _without_identity(traced: Function) -> Function:
    """The function below a Combine that only passes its one result on (an identity as the activation)."""
    root = traced.root_function
    while root.op is Op.Combine and len(root.operands) == 1:
        owner = root.operands[0].owner
        if owner is None or len(owner.results) != 1:
            break
        root = owner
    return root.composite()


def argument_names(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments without defaults, as placeholders get them."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            # What CNTK sees behind its decorators of binary operations.
            names.extend(["arg1", "arg2"] if not names else [])
        elif parameter.kind is not parameter.VAR_KEYWORD and parameter.default is parameter.empty:
            names.append(parameter.name)
    return names


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The types that a function's arguments are declared with, also where they are written as strings."""
    try:
        return inspect.get_annotations(function, eval_str=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def _tuple_of(arguments: list[Variable]) -> list[Variable]:
    """The arguments behind a block that keeps their order, whichever the function uses first."""
    from .graph_ops import combine

    inner = [_formal(v.name) for v in arguments]
    body = combine(inner)
    return list(as_block(body, list(zip(inner, arguments, strict=True)), "Tuple").outputs)


def _call(function: Callable[..., Any], formal: list[Variable], ordered: bool) -> Function:
    being_traced.update(formal)
    try:
        arguments = _tuple_of(formal) if ordered and len(formal) > 1 else formal
        return _as_function(function(*arguments))
    finally:
        being_traced.difference_update(formal)


def trace(
    function: Callable[..., Any], make_block: bool = False, op_name: str = "", name: str = ""
) -> CompositeFunction:
    """`Function(f)`: call f with placeholders named like its arguments (and typed, if it says so)."""
    types = _annotations(function)
    formal = []
    for argument in argument_names(function):
        variable = getattr(types.get(argument), "variable", None)
        formal.append(_formal(argument) if variable is None else variable(argument))
    if make_block:
        inner = [_formal(v.name) for v in formal]
        traced = _without_identity(_call(function, inner, ordered=False))
        return _block(op_name, traced, dict(zip(inner, formal, strict=True)), name, None)
    traced = _call(function, formal, ordered=True)
    result = traced.root_function.composite()
    if name:
        from .graph_ops import alias

        return alias(result, name)
    return result


def BlockFunction(op_name: str, name: str) -> Callable[[Callable[..., Any]], CompositeFunction]:
    """Decorator: turn a Python function of tensors into a block with placeholder arguments."""

    def decorate(function: Callable[..., Any]) -> CompositeFunction:
        return trace(function, True, op_name, name)

    return decorate
