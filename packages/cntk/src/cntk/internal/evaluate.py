"""Feeding arguments and evaluating functions outside of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..device import torch_device
from ..ops.functions import Function
from ..variables import Parameter, Variable, shape_text, torch_dtype
from .lower import Program, lower
from .missing import unavailable


def _from_batch(variable: Variable, data: torch.Tensor) -> torch.Tensor:
    """Bring [batch, *dims] (or [batch, 1, *dims]) to the variable's shape; only the total size must match."""
    dims = tuple(data.shape[1:])
    shape = variable.shape
    if dims == shape:
        return data
    if dims[:1] == (1,) and dims[1:] == shape:
        return data.squeeze(1)
    if tuple(data.shape) == shape:
        return data.unsqueeze(0)
    if len(dims) > len(shape) + 1:
        raise ValueError(
            f"Value rank ({data.dim()}) should be larger than the Variable rank ({len(shape)}) at most by "
            f"number of dynamic axes (1); Variable = '{variable!r}', Value shape = "
            f"'{shape_text(tuple(data.shape))}'."
        )
    raise ValueError(
        f"The trailing dimensions of the Value shape '{shape_text(tuple(data.shape))}' do not match the "
        f"Variable '{variable!r}' shape '{shape_text(shape)}'."
    )


def _as_array(variable: Variable, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        # Samples of different shapes: name the first one that is wrong.
        for i, sample in enumerate(value):
            shape = np.shape(sample)
            if shape != variable.shape:
                raise ValueError(
                    f"Value::Create: The shape '{shape_text(shape)}' of sequence #{i} is not compatible with "
                    f"the sample shape '{shape_text(variable.shape)}'."
                ) from None
        raise


def feed(variable: Variable, value: Any) -> torch.Tensor:
    """One argument as a tensor on the default device."""
    if variable.has_sequence_axis():
        raise unavailable("computing on sequences")
    dtype = torch_dtype(variable._dtype)
    data = getattr(value, "data", None) if not isinstance(value, (np.ndarray, torch.Tensor)) else None
    if isinstance(data, Value):
        value = data
    if isinstance(value, Value):
        tensor = value.tensor
        if tensor.dim() > 1 and tensor.shape[1] != 1:
            raise ValueError(
                f"Value rank ({tensor.dim()}) should be larger than the Variable rank "
                f"({len(variable.shape)}) at most by number of dynamic axes (1); Variable = '{variable!r}', "
                f"Value shape = '{shape_text(tuple(tensor.shape))}'."
            )
        count = len(tensor)
        if tensor[:1].numel() != int(np.prod(variable.shape)):
            return _from_batch(variable, tensor)
        # A reader's stream is flat: [batch, 1, 784] feeds an input of shape (1, 28, 28).
        tensor = tensor.reshape(count, *variable.shape)
    elif isinstance(value, torch.Tensor):
        tensor = value
        if variable.has_batch_axis():
            tensor = _from_batch(variable, tensor)
    else:
        if value is None or isinstance(value, str):
            raise ValueError("batch must be a list of NumPy arrays or SciPy CSR matrices")
        array = _as_array(variable, value)
        if not variable.has_batch_axis():
            if array.shape != variable.shape:
                raise ValueError(
                    f"The trailing dimensions of the Value shape '{shape_text(array.shape)}' do not match "
                    f"the Variable '{variable!r}' shape '{shape_text(variable.shape)}'."
                )
            return torch.tensor(array, dtype=dtype, device=torch_device())
        if array.ndim == 0:
            array = array.reshape(1)
        tensor = _from_batch(variable, torch.from_numpy(np.array(array, dtype=variable._dtype, order="C")))
    return tensor.to(torch_device(), dtype, non_blocking=True)


def argument_map(function: Function, arguments: Any) -> Mapping[Variable, Any]:
    """What the caller passed, as a map from the function's arguments."""
    if isinstance(arguments, Mapping) and arguments and all(isinstance(key, Variable) for key in arguments):
        return arguments  # the usual case, once per minibatch: no walk over the graph
    formal = function.arguments
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        if len(formal) == 1 and not isinstance(arguments, tuple):
            return {formal[0]: arguments}
        if len(arguments) != len(formal):
            raise ValueError(f"function expects {len(formal)} arguments")
        return dict(zip(formal, arguments, strict=True))
    if not arguments and formal:
        raise ValueError(f"function expects {len(formal)} arguments")
    result: dict[Variable, Any] = {}
    for key, value in arguments.items():
        if isinstance(key, str):
            matches = [v for v in formal if key in (v.name, v.uid)]
            if len(matches) != 1:
                raise ValueError(f"the function has no argument named '{key}'")
            result[matches[0]] = value
        else:
            result[key.output if isinstance(key, Function) else key] = value
    return result


def feeds_of(
    program: Program, given: Mapping[Variable, Any], outputs: Iterable[Variable]
) -> dict[Variable, torch.Tensor]:
    """Tensors for all arguments of a program; they must be there and agree in batch size."""
    missing = [v for v in program.arguments if v not in given]
    if missing:
        names = ", ".join(repr(v) for v in missing)
        wanted = ", ".join(repr(v) for v in outputs)
        raise ValueError(
            f"Values for {len(missing)} required arguments '{names}', that the requested output(s) "
            f"'{wanted}' depend on, have not been provided."
        )
    feeds: dict[Variable, torch.Tensor] = {}
    first: Variable | None = None
    for variable in program.arguments:
        tensor = feed(variable, given[variable])
        feeds[variable] = tensor
        if variable.has_batch_axis():
            if first is None:
                first = variable
            elif len(tensor) != len(feeds[first]):
                raise ValueError(
                    "Different minibatch layouts detected (difference in sequence lengths or count or "
                    f"start flags) in data specified for the Function's arguments '{variable!r}' vs. "
                    f"'{first!r}', though these arguments have the same dynamic axes '[#]'"
                )
    return feeds


def evaluate(
    function: Function, arguments: Any, outputs: Sequence[Variable], as_numpy: bool
) -> dict[Variable, Any]:
    composite = function.root_function.composite()
    given = argument_map(function, arguments)
    for variable in outputs:
        if not variable.known_shape:
            open_ends = [v for v in function.arguments if v.is_placeholder]
            names = ", ".join(repr(v) for v in open_ends)
            raise ValueError(
                f"Values for {len(open_ends)} required arguments '{names}', that the requested output(s) "
                f"'{variable!r}' depend on, have not been provided."
            )
    program = lower(composite, outputs, training=False)
    with torch.no_grad():
        values = program.run(feeds_of(program, given, outputs))
    result: dict[Variable, Any] = {}
    for variable, value in zip(outputs, values, strict=True):
        # A copy: a kernel may return its argument, which the caller's array must not share.
        result[variable] = value.cpu().contiguous().numpy().copy() if as_numpy else Value(value.unsqueeze(1))
    return result


def gradients(function: Function, at: Any, wrt: Sequence[Variable]) -> dict[Variable, np.ndarray]:
    composite = function.root_function.composite()
    output = function.output
    for variable in wrt:
        if not variable.needs_gradient:
            raise ValueError(
                f"Gradient value incorrectly requested for Variable '{variable!r}', an Output or Constant "
                "or Input Variable with NeedsGradient setting of false, or an input for which gradient "
                "computation was explicitly excluded."
            )
    program = lower(composite, [output], training=True)
    feeds = feeds_of(program, argument_map(function, at), [output])
    sources = []
    for variable in wrt:
        if isinstance(variable, Parameter):
            sources.append(variable.tensor)
        elif variable in feeds:
            feeds[variable] = feeds[variable].requires_grad_()
            sources.append(feeds[variable])
        else:
            raise ValueError(f"'{variable!r}' is not part of the function")
    (value,) = program.run(feeds)
    if not value.requires_grad:  # nothing differentiable on the way
        return {
            variable: np.zeros(tuple(source.shape), variable._dtype)
            for variable, source in zip(wrt, sources, strict=True)
        }
    found = torch.autograd.grad(value.sum(), sources, allow_unused=True)
    return {
        variable: np.zeros(tuple(source.shape), variable._dtype)
        if grad is None
        else grad.cpu().contiguous().numpy().copy()
        for variable, source, grad in zip(wrt, sources, found, strict=True)
    }
