"""Values that users pass, as the tensors (and layouts) that a program takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ..axis import Axis
from ..core import NDArrayView, Value, is_csr
from ..device import torch_device
from ..ops.base import Function
from ..variables import Variable, axis_text, shape_text, torch_dtype
from .layout import Layout, pad_sequences
from .lower import Program
from .sparse import SparseRows, SparseValue, of_matrices

_NOT_DATA = "batch must be a list of NumPy arrays or SciPy CSR matrices"


def _rank_error(variable: Variable, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"Value rank ({len(shape)}) should be larger than the Variable rank ({len(variable.shape)}) at most "
        f"by number of dynamic axes ({len(variable.dynamic_axes)}); Variable = '{variable!r}', Value shape = "
        f"'{shape_text(shape)}'."
    )


def _trailing_error(variable: Variable, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"The trailing dimensions of the Value shape '{shape_text(shape)}' do not match the Variable "
        f"'{variable!r}' shape '{shape_text(variable.shape)}'."
    )


def _sequence_error(i: int, shape: tuple[int, ...], variable: Variable) -> ValueError:
    return ValueError(
        f"Value::Create: The shape '{shape_text(shape)}' of sequence #{i} is not compatible with the sample "
        f"shape '{shape_text(variable.shape)}'."
    )


def _matches(dims: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a value has a variable's shape; a free or unknown axis takes any size."""
    return len(dims) == len(shape) and all(d == s or s < 0 for d, s in zip(dims, shape, strict=True))


def _from_batch(variable: Variable, data: torch.Tensor) -> torch.Tensor:
    """Bring [batch, *dims] (or [batch, 1, *dims]) to the variable's shape."""
    dims = tuple(data.shape[1:])
    shape = variable.shape
    if _matches(dims, shape):
        return data
    if dims[:1] == (1,) and _matches(dims[1:], shape):
        return data.squeeze(1)
    if _matches(tuple(data.shape), shape):
        return data.unsqueeze(0)
    if len(dims) > len(shape) + 1:
        raise _rank_error(variable, tuple(data.shape))
    raise _trailing_error(variable, tuple(data.shape))


is_sparse_matrix = is_csr


def _dense(value: Any) -> Any:
    if is_sparse_matrix(value):
        return np.asarray(value.todense())
    return value._array if isinstance(value, NDArrayView) else value


def _rows(variable: Variable, value: Any) -> Any:
    """A CSR matrix as samples: of a tensor's rows, when its rows make up whole samples."""
    dense = _dense(value)
    shape = variable.shape
    rank = len(shape)
    if is_sparse_matrix(value) and rank > 1 and min(shape) > 0 and dense.size % math.prod(shape) == 0:
        return dense.reshape(-1, *shape)
    return dense


def _as_array(variable: Variable, value: Any) -> np.ndarray:
    if isinstance(value, (list, tuple)):
        if any(is_sparse_matrix(v) for v in value):
            value = np.concatenate([_rows(variable, v) for v in value])
        elif any(isinstance(v, NDArrayView) for v in value):
            value = np.stack([_dense(v) for v in value])
        elif variable.shape and any(isinstance(v, np.ndarray) and v.ndim == 0 for v in value):
            raise _sequence_error(0, (), variable)
    value = _rows(variable, value)
    try:
        return np.asarray(value)
    except ValueError:
        # Samples of different shapes: name the first one that is wrong.
        for i, sample in enumerate(value):
            shape = np.shape(sample)
            if shape != variable.shape:
                raise _sequence_error(i, shape, variable) from None
        raise


def feed(variable: Variable, value: Any, as_sparse: bool = False) -> tuple[Any, Layout | None]:
    """One argument as a tensor on the default device, with its layout when it is a batch of sequences; where
    that is wanted sparse data as SparseRows."""
    if as_sparse:
        known = _sparse(variable, value)
        if known is not None:
            return known
    if _is_with_starts(value):
        value = with_starts(variable, *value)
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        data = getattr(value, "data", None)
        if isinstance(data, Value):
            value = data
    if isinstance(value, NDArrayView):
        value = value._array
    if value is None or isinstance(value, str):
        raise ValueError(_NOT_DATA)
    if variable.has_sequence_axis():
        return _feed_sequences(variable, value)
    return _feed_batch(variable, value), None


def _sparse(variable: Variable, value: Any) -> tuple[SparseRows, Layout | None] | None:
    """Sparse data as it is, with its layout; None for other data, and for what does not fit as it is."""
    data = getattr(value, "data", None)
    if isinstance(data, Value):
        value = data
    layout = None
    if isinstance(value, SparseValue):
        rows = value.rows
        if rows.dim != variable.shape[0]:
            return None
        layout = Layout(np.asarray(value.lengths, np.int64), value.starts, value.slots)
    elif is_sparse_matrix(value) and not variable.has_sequence_axis():
        made = of_matrices([value], variable.shape[0])
        if made is None:
            return None
        rows = made[0].turned()
    elif isinstance(value, list) and value and all(is_sparse_matrix(v) for v in value):
        made = of_matrices(value, variable.shape[0])
        if made is None:
            return None
        rows, layout = made[0], Layout(made[1])
    else:
        return None
    if not variable.has_sequence_axis() and len(rows.lead) == 2:
        if rows.lead[1] != 1:
            return None
        rows, layout = rows.flat(), None
    return rows.to(torch_device(), torch_dtype(variable._dtype)), layout


def _feed_batch(variable: Variable, value: Any) -> torch.Tensor:
    dtype = torch_dtype(variable._dtype)
    if isinstance(value, Value):
        tensor = value.tensor
        if value.plain:
            tensor = _from_batch(variable, tensor) if variable.has_batch_axis() else tensor
        elif tensor.dim() > 1 and tensor.shape[1] != 1:
            raise _rank_error(variable, tuple(tensor.shape))
        else:
            count = len(tensor)
            if tensor[:1].numel() != int(np.prod(variable.shape)):
                return _from_batch(variable, tensor)
            # A reader's stream is flat: [batch, 1, 784] feeds an input of shape (1, 28, 28).
            tensor = tensor.reshape(count, *variable.shape)
    elif isinstance(value, torch.Tensor):
        tensor = _from_batch(variable, value) if variable.has_batch_axis() else value
    else:
        array = _as_array(variable, value)
        if not variable.has_batch_axis():
            if not _matches(array.shape, variable.shape):
                raise _trailing_error(variable, array.shape)
            return torch.tensor(array, dtype=dtype, device=torch_device())
        if array.ndim == 0:
            array = array.reshape(1)
        tensor = _from_batch(variable, torch.from_numpy(np.array(array, dtype=variable._dtype, order="C")))
    return tensor.to(torch_device(), dtype, non_blocking=True)


def _feed_sequences(variable: Variable, value: Any) -> tuple[torch.Tensor, Layout]:
    dtype, device = torch_dtype(variable._dtype), torch_device()
    if isinstance(value, Value):
        tensor = value.tensor
        if value.plain:
            return _feed_sequences(variable, tensor)
        if tensor.dim() < 2:
            raise _rank_error(variable, tuple(tensor.shape))
        if tensor[:1, :1].numel() != int(np.prod(variable.shape)):
            raise _trailing_error(variable, tuple(tensor.shape))
        tensor = tensor.reshape(*tensor.shape[:2], *variable.shape)
        layout = Layout(np.asarray(value.lengths, dtype=np.int64), value.starts, value.slots)
        return _padded(tensor, layout).to(device, dtype, non_blocking=True), layout
    sequences = _sequences(variable, value)
    layout = Layout(np.array([len(s) for s in sequences], dtype=np.int64))
    return pad_sequences(sequences).to(device, dtype, non_blocking=True), layout


def _padded(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The last value of each sequence in the place of whatever is behind its end."""
    if layout.uniform:
        return tensor[:, : layout.longest]
    steps = torch.arange(layout.longest, device=tensor.device)
    index = torch.minimum(steps, layout.last(tensor.device).clamp(min=0).unsqueeze(1))
    return tensor[torch.arange(len(tensor), device=tensor.device).unsqueeze(1), index]


def _sequences(variable: Variable, value: Any) -> list[torch.Tensor]:
    """One tensor [length, *shape] per sequence, from a list of them, from an array [batch, length, *shape] or
    from one sequence."""
    shape = variable.shape
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if is_sparse_matrix(value):
        value = [value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        if value.ndim == len(shape) + 2:
            items: list[Any] = list(value)
        elif value.ndim <= len(shape) + 1:
            items = [value]  # a single sequence
        else:
            raise _rank_error(variable, value.shape)
    elif isinstance(value, (list, tuple, np.ndarray)):
        items = list(value)
        if items and not is_sparse_matrix(items[0]) and np.ndim(items[0]) == len(shape) == 0:
            items = [np.asarray(items)]
    else:
        raise ValueError(_NOT_DATA)
    result = []
    for i, item in enumerate(items):
        array = np.array(_rows(variable, item), dtype=variable._dtype, order="C")
        if _matches(array.shape, shape):
            array = array[None]  # a sequence of one
        if not _matches(array.shape[1:], shape):
            if array.ndim == 1 and len(shape) == 1 and shape == (1,):
                array = array[:, None]
            else:
                raise _sequence_error(i, array.shape, variable)
        result.append(torch.from_numpy(array))
    return result


def with_starts(variable: Variable, data: Any, starts: Iterable[Any] | None) -> Value:
    """Data for a sequence variable, of whose sequences some go on from the minibatch before.

    Raises ValueError when the data is a Value, which has its own flags.
    """
    if isinstance(data, Value) or isinstance(getattr(data, "data", None), Value):
        raise ValueError(
            "for directly passed Value objects sequence starts are not allowed: they are part of the Value"
        )
    return Value.create(variable, data, starts)


def _is_with_starts(arguments: Any) -> bool:
    """Whether it is (arguments, [for each sequence: whether it is a new one])."""
    if not isinstance(arguments, tuple) or len(arguments) != 2 or not isinstance(arguments[1], list):
        return False
    return bool(arguments[1]) and all(isinstance(start, bool) for start in arguments[1])


def argument_map(function: Function, arguments: Any) -> Mapping[Variable, Any]:
    """What the caller passed, as a map from the function's arguments."""
    if _is_with_starts(arguments):
        arguments, starts = arguments
        given = argument_map(function, arguments)
        return {
            v: with_starts(v, data, starts) if v.has_sequence_axis() else data for v, data in given.items()
        }
    if isinstance(arguments, Mapping) and arguments and all(isinstance(key, Variable) for key in arguments):
        return arguments  # the usual case, once per minibatch: no walk over the graph
    formal = function.arguments
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        if len(formal) == 1 and not isinstance(arguments, tuple):
            return {formal[0]: arguments}
        if len(arguments) != len(formal) or isinstance(arguments, list):
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


def missing_values(missing: Iterable[Variable], outputs: Iterable[Variable]) -> ValueError:
    missing = list(missing)
    names = ", ".join(repr(v) for v in missing)
    wanted = ", ".join(repr(v) for v in outputs)
    return ValueError(
        f"Values for {len(missing)} required arguments '{names}', that the requested output(s) '{wanted}' "
        "depend on, have not been provided."
    )


def feeds_of(program: Program, given: Mapping[Variable, Any], outputs: Iterable[Variable]) -> dict[Any, Any]:
    """Tensors for all arguments of a program and layouts of their axes; arguments must be there and agree."""
    missing = [v for v in program.arguments if v not in given]
    if missing:
        raise missing_values(missing, outputs)
    feeds: dict[Any, Any] = {}
    of_batch: dict[tuple[Axis, ...], Variable] = {}
    of_axis: dict[Axis, Variable] = {}
    for variable in program.arguments:
        tensor, layout = feed(variable, given[variable], variable in program.takes_sparse)
        feeds[variable] = tensor
        axis = variable.sequence_axis
        if layout is not None and axis is not None:
            if axis in feeds and feeds[axis] != layout:
                raise _different(variable, of_axis[axis])
            feeds[axis] = layout
            of_axis.setdefault(axis, variable)
        if variable.has_batch_axis():
            first = of_batch.setdefault(variable.dynamic_axes, variable)
            if len(tensor) != len(feeds[first]):
                raise _different(variable, first)
    # An axis of which no argument of the program is: another argument that was given has it.
    for axis in program.axes:
        if axis not in feeds:
            source = next((v for v in given if v.sequence_axis == axis), None)
            if source is None:
                raise ValueError(f"No value with the dynamic axis '{axis.name}' was provided.")
            feeds[axis] = feed(source, given[source])[1]
    return feeds


def _different(variable: Variable, other: Variable) -> ValueError:
    axes = ", ".join(axis_text(axis) for axis in variable.dynamic_axes)
    return ValueError(
        "Different minibatch layouts detected (difference in sequence lengths or count or start flags) in "
        f"data specified for the Function's arguments '{variable!r}' vs. '{other!r}', though these arguments "
        f"have the same dynamic axes '[{axes}]'"
    )
