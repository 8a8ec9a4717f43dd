"""Layers over sequences."""

from __future__ import annotations

import inspect
from typing import Any

from ..default_options import default_override_or, get_default_override
from ..internal.missing import module_getattr
from ..ops import combine, sequence, splice
from ..ops.construction import constant
from ..ops.functions import BlockFunction, Function
from ..ops.graph_ops import reconcile_dynamic_axes
from ..ops.tracing import trace
from .blocks import ForwardDeclaration, initial_state_or_default, with_name

_ZERO = default_override_or(0)
_MOST_STATES = 10
_STATE_NAMES = ("h", "c", "a")
_FORWARDS = default_override_or(False)


def Delay(T: int = 1, initial_state: Any = _ZERO, name: str = "") -> Function:
    """The input T steps ago (negative: ahead)."""
    state = initial_state_or_default(get_default_override(Delay, initial_state=initial_state))

    @BlockFunction("Delay", name)
    def delay(x: Any) -> Any:
        return sequence.delay(x, initial_state=state, time_step=T)

    return delay


def PastValueWindow(window_size: int, axis: int, go_backwards: Any = _FORWARDS, name: str = "") -> Function:
    """The last steps of a sequence along a static axis, latest first, and whether there are any."""
    backwards = get_default_override(PastValueWindow, go_backwards=go_backwards)
    end = sequence.first if backwards else sequence.last

    def back(x: Any, steps: int) -> Any:
        return end(Delay(-steps if backwards else steps)(x))

    @BlockFunction("PastValueWindow", name)
    def window(x: Any) -> Any:
        ones = sequence.broadcast_as(constant(1, shape=(1,)), x)
        values = [back(x, steps) for steps in range(window_size)]
        valid = [back(ones, steps) for steps in range(window_size)]
        return splice(*values, axis=axis, name="value"), splice(*valid, axis=axis, name="valid")

    return window


def _step(step_function: Any) -> Function:
    if isinstance(step_function, Function):
        return step_function
    if not callable(step_function):
        return step_function  # type: ignore[no-any-return]  # whose lack of a signature is the error
    traced: Function = trace(step_function)
    return traced


def RecurrenceFrom(
    step_function: Any, go_backwards: Any = _FORWARDS, return_full_state: bool = False, name: str = ""
) -> Function:
    """(initial state.., x) -> states: a step function over a sequence, from initial states that are data."""
    backwards = get_default_override(RecurrenceFrom, go_backwards=go_backwards)
    step = _step(step_function)
    states = step.signature[:-1]
    if len(step.outputs) != len(states):
        raise TypeError(
            "RecurrenceFrom: number of state variables inconsistent between create_placeholder() and "
            "recurrent block"
        )

    def run(*arguments: Any) -> Any:
        *initial, x = arguments
        later = [ForwardDeclaration(name=state.name) for state in states]
        before = [
            sequence.delay(value, initial_state=state, time_step=-1 if backwards else 1)
            for value, state in zip(later, initial, strict=True)
        ]
        result = step(*before, x)
        for declared, value in zip(later, list(result.outputs), strict=True):
            declared.resolve_to(value)
        return result if return_full_state else combine([result.outputs[0]])

    if not 1 <= len(states) <= _MOST_STATES:
        raise ValueError(
            f"RecurrenceFrom() currently supports recurrence with up to {_MOST_STATES} state variables"
        )
    names = (*_STATE_NAMES, *(f"state{i}" for i in range(len(_STATE_NAMES), _MOST_STATES)))[: len(states)]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    run.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in (*names, "x")])  # type: ignore[attr-defined]
    made: Function = with_name(trace(run), name)
    return made


def Recurrence(
    step_function: Any,
    go_backwards: Any = _FORWARDS,
    initial_state: Any = _ZERO,
    return_full_state: bool = False,
    name: str = "",
) -> Function:
    """x -> states: a step function over a sequence, from constant (or learned) initial states."""
    backwards = get_default_override(Recurrence, go_backwards=go_backwards)
    state = initial_state_or_default(get_default_override(Recurrence, initial_state=initial_state))
    step = _step(step_function)
    count = len(step.signature) - 1
    states = state if isinstance(state, tuple) else (state,) * count
    run = RecurrenceFrom(step, backwards, return_full_state)

    def recurrence(x: Any) -> Any:
        return run(*states, x)

    made: Function = with_name(trace(recurrence), name)
    return made


def Fold(
    folder_function: Any,
    go_backwards: Any = _FORWARDS,
    initial_state: Any = _ZERO,
    return_full_state: bool = False,
    name: str = "",
) -> Function:
    """x -> the last state of a recurrence (the first one's when it goes backwards)."""
    backwards = get_default_override(Fold, go_backwards=go_backwards)
    state = get_default_override(Fold, initial_state=initial_state)
    run = Recurrence(folder_function, backwards, state, return_full_state)
    end = sequence.first if backwards else sequence.last

    def fold(x: Any) -> Any:
        return combine([end(output) for output in run(x).outputs])

    made: Function = with_name(trace(fold), name)
    return made


def UnfoldFrom(
    generator_function: Any, until_predicate: Any = None, length_increase: float = 1, name: str = ""
) -> Function:
    """(initial state, sequence) -> a sequence of the same (or a longer) axis, each value made from the last.

    A generator that returns two values gives (output, state).  The output ends where the predicate holds.
    """
    generate = _step(generator_function)

    def unfold_from(initial_state: Any, dynamic_axes_like: Any) -> Any:
        like = dynamic_axes_like
        if length_increase != 1:
            like = sequence.where(reconcile_dynamic_axes(constant(length_increase), dynamic_axes_like))
        history = ForwardDeclaration(name="history")
        before = sequence.delay(history, initial_state=initial_state)
        on_axis = reconcile_dynamic_axes(before, like)
        result = generate(on_axis)
        outputs = list(result.outputs)
        output, state = outputs[0], outputs[-1]
        history.resolve_to(state)
        if until_predicate is not None:
            stop = until_predicate(output)
            running = Recurrence(lambda h, x: h * (1 - x), initial_state=1)(
                sequence.past_value(stop, initial_state=0)
            )
            output = sequence.gather(output, running)
        return combine([output], name="unfold_output")

    made: Function = with_name(trace(unfold_from), name)
    return made


__all__ = ["Delay", "Fold", "PastValueWindow", "Recurrence", "RecurrenceFrom", "UnfoldFrom"]

__getattr__ = module_getattr("cntk.layers.sequence")
