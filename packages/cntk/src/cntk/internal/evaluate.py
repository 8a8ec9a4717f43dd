"""Evaluating functions outside of training: values, and gradients in one or two calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..ops.base import Function
from ..ops.nodes import CompositeFunction
from ..variables import Parameter, Variable, _Stored
from .feeding import argument_map, feed, feeds_of, missing_values
from .kernels.stateful import deferred_assignments, make_assignments
from .layout import Layout
from .lower import Program, has_open_sizes, lower

__all__ = [
    "argument_map", "batch_sum", "evaluate", "feeds_of", "gradients", "run_backward", "run_forward",
    "sample_count", "to_user",
]  # fmt: skip


def to_user(value: torch.Tensor, layout: Layout | None, lead: int, as_numpy: bool) -> Any:
    """A result as users get it: an array; for sequences, a list with an array for each."""
    value = value.detach()
    if not as_numpy:
        if layout is not None:
            return Value(value, layout.lengths)
        return Value(value, plain=True)
    # A copy: a kernel may return its argument, which the caller's array must not share.
    array = value.cpu().contiguous().numpy().copy()
    if layout is None:
        return array
    return [array[i, :length] for i, length in enumerate(layout.lengths)]


def batch_sum(value: torch.Tensor, layout: Layout | None) -> torch.Tensor:
    """The sum over all samples of a minibatch (of what lies behind the ends of sequences, nothing)."""
    if layout is None or layout.uniform:
        return value.sum()
    mask = layout.mask(value.device)
    return torch.where(mask.reshape(*mask.shape, *(1,) * (value.dim() - 2)), value, 0.0).sum()


def sample_count(variable: Variable, value: torch.Tensor, layout: Layout | None) -> int:
    """How many samples a value of the variable is of: every step of a sequence is one."""
    if layout is not None:
        return layout.total
    return len(value) if variable.has_batch_axis() else 1


def _check_known(function: Function, outputs: Sequence[Variable]) -> None:
    if has_open_sizes(function.root_function.composite()):
        return  # the data decides
    for variable in outputs:
        if not variable.known_shape:
            raise missing_values([v for v in function.arguments if v.is_placeholder], [variable])


def evaluate(
    function: Function, arguments: Any, outputs: Sequence[Variable], as_numpy: bool
) -> dict[Variable, Any]:
    composite = function.root_function.composite()
    given = argument_map(composite, arguments)
    _check_known(function, outputs)
    program = lower(composite, outputs, training=False)
    with torch.no_grad():
        run = program.execute(feeds_of(program, given, outputs))
    values = {
        variable: to_user(value, layout, len(variable.dynamic_axes), as_numpy)
        for variable, value, layout in zip(outputs, run.values, run.layouts, strict=True)
    }
    _hand_out(composite, values)
    return values


def _hand_out(composite: CompositeFunction, *values: dict[Variable, Any]) -> None:
    """Erase the values of the function's last evaluation that were not made arrays, as CNTK does."""
    for old in composite.temporary:
        old.erase()
    composite.temporary = [v for part in values for v in part.values() if isinstance(v, Value)]


class BackPropState:
    """What `forward` keeps for `backward`."""

    def __init__(
        self,
        kept: Mapping[Variable, tuple[torch.Tensor, Layout | None]],
        feeds: Mapping[Any, Any],
        parameters: Sequence[Parameter],
        assignments: list[tuple[torch.Tensor, torch.Tensor]],
    ):
        self.kept = kept
        self.feeds = feeds
        self.parameters = parameters
        self.assignments = assignments  # that backward makes, when it has gone back


def _grad_feeds(
    program: Program, given: Mapping[Variable, Any], outputs: Sequence[Variable]
) -> dict[Any, Any]:
    feeds = feeds_of(program, given, outputs)
    for variable in program.arguments:
        tensor = feeds[variable]
        if variable.needs_gradient and tensor.is_floating_point():
            feeds[variable] = tensor.detach().clone().requires_grad_()
    return feeds


def run_forward(
    function: Function, arguments: Any, outputs: Sequence[Variable], kept: Sequence[Variable], as_numpy: bool
) -> tuple[BackPropState | None, dict[Variable, Any]]:
    composite = function.root_function.composite()
    given = argument_map(composite, arguments)
    _check_known(function, outputs)
    everything = [*outputs, *(v for v in kept if v not in outputs)]
    program = lower(composite, everything, training=bool(kept))
    if kept:
        feeds = _grad_feeds(program, given, everything)
        with deferred_assignments() as assignments:
            run = program.execute(feeds)
    else:
        with torch.no_grad():
            feeds = feeds_of(program, given, everything)
            run = program.execute(feeds)
    results = dict(zip(everything, zip(run.values, run.layouts, strict=True), strict=True))
    state = None
    if kept:
        state = BackPropState({v: results[v] for v in kept}, feeds, program.parameters, assignments)
    values = {v: to_user(results[v][0], results[v][1], len(v.dynamic_axes), as_numpy) for v in outputs}
    _hand_out(composite, values)
    return state, values


def _refuse(variable: Variable) -> ValueError:
    return ValueError(
        f"Gradient value incorrectly requested for Variable '{variable!r}', an Output or Constant or Input "
        "Variable with NeedsGradient setting of false, or an input for which gradient computation was "
        "explicitly excluded."
    )


def _differentiate(
    roots: Sequence[torch.Tensor],
    root_gradients: Sequence[torch.Tensor],
    wrt: Sequence[Variable],
    feeds: Mapping[Any, Any],
    retain: bool,
    as_numpy: bool,
) -> dict[Variable, Any]:
    sources = []
    for variable in wrt:
        if isinstance(variable, Parameter):
            sources.append(variable.tensor)
        elif variable in feeds:
            sources.append(feeds[variable])
        else:
            raise ValueError(f"'{variable!r}' is not part of the function")
    pairs = [(r, g) for r, g in zip(roots, root_gradients, strict=True) if r.requires_grad]
    found: list[torch.Tensor | None] = [None] * len(sources)
    usable = [i for i, source in enumerate(sources) if source.requires_grad]
    if pairs and usable:
        gradients_of = torch.autograd.grad(
            [r for r, _ in pairs],
            [sources[i] for i in usable],
            [g for _, g in pairs],
            allow_unused=True,
            retain_graph=retain,
        )
        for i, of_source in zip(usable, gradients_of, strict=True):
            found[i] = of_source
    result = {}
    for variable, source, gradient in zip(wrt, sources, found, strict=True):
        value = torch.zeros_like(source) if gradient is None else gradient
        layout = None
        if not isinstance(variable, _Stored) and variable.sequence_axis is not None:
            layout = feeds[variable.sequence_axis]
        result[variable] = to_user(value, layout, len(variable.dynamic_axes), as_numpy)
    return result


def run_backward(
    state: BackPropState, root_gradients: Mapping[Variable, Any], wrt: Sequence[Variable], as_numpy: bool
) -> dict[Variable, Any]:
    if state is None:
        raise ValueError("backward: the state must come from a call of forward with outputs kept for it.")
    for variable in wrt:
        if not variable.needs_gradient:
            raise _refuse(variable)
    roots, gradients_ = [], []
    for variable, value in root_gradients.items():
        if variable not in state.kept:
            raise ValueError(f"backward: the output '{variable!r}' was not kept in forward.")
        tensor, layout = state.kept[variable]
        roots.append(tensor)
        gradients_.append(_root_gradient(variable, value, tensor, layout))
    found = _differentiate(roots, gradients_, wrt, state.feeds, True, as_numpy)
    make_assignments(state.assignments)
    return found


def _root_gradient(
    variable: Variable, value: Any, tensor: torch.Tensor, layout: Layout | None
) -> torch.Tensor:
    if not variable.known_shape:  # the data has told it
        lead = len(variable.dynamic_axes)
        variable = Variable(tensor.shape[lead:], variable._dtype, dynamic_axes=variable.dynamic_axes)
    if layout is None:
        if not isinstance(value, (Value, torch.Tensor)) and np.ndim(value) == 0:
            return torch.full_like(tensor, float(value))
        fed: torch.Tensor = feed(variable, value)[0]
        return fed.reshape(tensor.shape)
    gradient, _ = feed(variable, value)
    mask = layout.mask(tensor.device)
    return torch.where(mask.reshape(*mask.shape, *(1,) * (gradient.dim() - 2)), gradient, 0.0)


def gradients(
    function: Function,
    at: Any,
    wrt: Sequence[Variable],
    root: Variable,
    outputs: Sequence[Variable],
    as_numpy: bool,
) -> tuple[dict[Variable, Any], dict[Variable, Any]]:
    """(gradients of the sum of `root`, values of `outputs`)."""
    composite = function.root_function.composite()
    for variable in wrt:
        if not variable.needs_gradient:
            raise _refuse(variable)
    everything = [root, *(v for v in outputs if v is not root)]
    program = lower(composite, everything, training=True)
    feeds = _grad_feeds(program, argument_map(composite, at), everything)
    run = program.execute(feeds)
    results = dict(zip(everything, zip(run.values, run.layouts, strict=True), strict=True))
    value, layout = results[root]
    ones = torch.ones_like(value)
    if layout is not None:
        ones = torch.where(
            layout.mask(value.device).reshape(*ones.shape[:2], *(1,) * (ones.dim() - 2)), ones, 0.0
        )
    found = _differentiate([value], [ones], wrt, feeds, False, as_numpy)
    values = {v: to_user(results[v][0], results[v][1], len(v.dynamic_axes), as_numpy) for v in outputs}
    _hand_out(composite, found, values)
    return found, values
