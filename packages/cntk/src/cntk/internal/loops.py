"""Recurrences: functions that depend on themselves through a delay run step by step over the time axis.

What does not take part in the cycle is computed for all steps at once; only the cycle itself is in the loop,
where the time axis is gone and every value is a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..axis import Axis
from ..variables import Variable
from . import kernels
from .carried import Memory
from .kernels import Node
from .kernels.sequences import initial_state
from .layout import Layout
from .missing import unavailable
from .opcodes import Op
from .steps import Key, Slots, Step, fuse

if TYPE_CHECKING:
    from ..ops.nodes import PrimitiveFunction

DELAYS = (Op.PastValue, Op.FutureValue)


def components(
    functions: Sequence[PrimitiveFunction], sources: Callable[[PrimitiveFunction], list[PrimitiveFunction]]
) -> list[list[PrimitiveFunction]]:
    """Strongly connected components (Tarjan's, without recursion), producers before consumers."""
    index: dict[PrimitiveFunction, int] = {}
    low: dict[PrimitiveFunction, int] = {}
    on_stack: set[PrimitiveFunction] = set()
    stack: list[PrimitiveFunction] = []
    found: list[list[PrimitiveFunction]] = []
    for start in functions:
        if start in index:
            continue
        work = [(start, iter(sources(start)))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, following = work[-1]
            source = next(following, None)
            if source is not None:
                if source not in index:
                    index[source] = low[source] = len(index)
                    stack.append(source)
                    on_stack.add(source)
                    work.append((source, iter(sources(source))))
                elif source in on_stack:
                    low[node] = min(low[node], index[source])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                component = []
                while True:
                    member = stack.pop()
                    on_stack.discard(member)
                    component.append(member)
                    if member is node:
                        break
                found.append(component)
    return found


def _in_order(
    members: Sequence[PrimitiveFunction], operands: Mapping[PrimitiveFunction, list[Variable]]
) -> list[PrimitiveFunction]:
    """The members of a cycle, producers first, when the delays are taken for given."""
    inside = set(members)
    order: list[PrimitiveFunction] = []
    done: set[PrimitiveFunction] = set()
    for start in members:
        stack = [start]
        open_: set[PrimitiveFunction] = set()
        while stack:
            function = stack[-1]
            if function in done:
                stack.pop()
                continue
            missing = []
            if function.op not in DELAYS:
                missing = [v.owner for v in operands[function] if v.owner in inside and v.owner not in done]
            if not missing:
                stack.pop()
                done.add(function)
                order.append(function)
                continue
            if function in open_:
                raise RuntimeError(f"The value of '{function.uid}' depends on itself without a delay.")
            open_.add(function)
            stack.extend(owner for owner in missing if owner is not None)
    return order


class Loop:
    """The program of one cycle: external values in, the values used outside out, as a tuple."""

    def __init__(
        self,
        members: Sequence[PrimitiveFunction],
        operands: Mapping[PrimitiveFunction, list[Variable]],
        outputs: Sequence[Variable],
        training: bool,
        memory: Memory,
    ):
        self._memory = memory
        order = _in_order(members, operands)
        delays = [f for f in order if f.op in DELAYS]
        self.axis = self._axis_of(delays)
        self.backwards = delays[0].op is Op.FutureValue
        own = {v for f in order for v in f.results}

        def lead(v: Variable) -> int:
            return len(v.dynamic_axes) - (self.axis in v.dynamic_axes)

        steps: list[Step] = []
        for function in order:
            if function.op in DELAYS:
                continue
            given = operands[function]
            node = Node(
                function.op,
                given,
                function.raw_attributes,
                function.results,
                training,
                [lead(v) for v in given],
                lead(function.results[0]),
                getattr(function, "user", None),
            )
            inputs: list[Key] = [*given]
            inputs += [given[i].sequence_axis for i in kernels.layouts_of(node)]
            steps.append(Step(None, inputs, function.results[0], node))
            if len(function.results) > 1:
                raise RuntimeError(
                    f"'{function.uid}' has several results and cannot be part of a recurrence."
                )
        sources = [operands[f][0] for f in delays]
        steps = fuse(steps, [*outputs, *sources])
        slots = Slots()
        self._code = slots.code(steps)
        self._delays = []
        self._keys: dict[int, Variable] = {}
        for function in delays:
            given = operands[function]
            node = Node(
                function.op, given, function.raw_attributes, function.results, training,
                [lead(v) for v in given], lead(function.results[0]),
            )  # fmt: skip
            if self.axis in given[1].dynamic_axes:
                raise unavailable("a recurrence whose initial state is a sequence over its own axis")
            self._keys[slots(function.results[0])] = function.results[0]
            of_state = given[1].sequence_axis
            self._delays.append(
                (
                    slots(function.results[0]),
                    slots(given[0]),
                    [slots(given[1])] if of_state is None else [slots(given[1]), slots(of_state)],
                    int(function.raw_attributes["offset"]),
                    initial_state(node),
                )
            )
        self._outputs = [slots(v) for v in outputs]
        self._kept = sorted({source for _, source, _, _, _ in self._delays} | set(self._outputs))
        external = [key for key in slots.of if key not in own]
        self.inputs: list[Key] = [*external, self.axis]
        self._whole = [(i, slots.of[key]) for i, key in enumerate(external) if not self._over_time(key)]
        self._sliced = [(i, slots.of[key]) for i, key in enumerate(external) if self._over_time(key)]
        if not self._sliced and not any(isinstance(k, Variable) and k.has_batch_axis() for k in external):
            raise RuntimeError("A recurrence needs an operand with a sequence axis.")
        self._size = len(slots.of)

    def _over_time(self, key: Key) -> bool:
        return isinstance(key, Variable) and self.axis in key.dynamic_axes

    @staticmethod
    def _axis_of(delays: Iterable[PrimitiveFunction]) -> Axis:
        kinds = {f.op for f in delays}
        if len(kinds) > 1:
            raise RuntimeError(
                "It is not allowed to have multiple different stepping directions in the same loop."
            )
        axes = {f.results[0].sequence_axis for f in delays}
        axis = axes.pop() if len(axes) == 1 else None
        if axis is None:
            raise RuntimeError("The delays of a recurrence must be over one and the same sequence axis.")
        return axis

    def __call__(self, *values: Any) -> tuple[torch.Tensor, ...]:
        layout: Layout = values[-1]
        length, count = layout.longest, len(layout.lengths)
        local: list[Any] = [None] * self._size
        for i, slot in self._whole:
            local[slot] = values[i]
        sliced = [(slot, values[i].unbind(1)) for i, slot in self._sliced]
        before: dict[int, torch.Tensor] = {}
        for slot, _, (initial, *layouts), offset, expand in self._delays:
            initial_ = expand(local[initial], count, *(local[i] for i in layouts))
            if self.backwards:
                before[slot] = initial_.unsqueeze(1)
            else:
                before[slot] = self._memory.before(self._keys[slot], initial_, offset, layout)
        device = next(iter(before.values())).device
        history: dict[int, list[Any]] = {slot: [None] * length for slot in self._kept}
        last = None if layout.uniform else layout.last(device)
        for t in range(length - 1, -1, -1) if self.backwards else range(length):
            for slot, parts in sliced:
                local[slot] = parts[t]
            for slot, source, _, offset, _ in self._delays:
                local[slot] = self._delayed(history[source], t, offset, before[slot], last)
            for kernel, inputs, output in self._code:
                local[output] = kernel(*[local[i] for i in inputs])
            for slot, kept in history.items():
                kept[t] = local[slot]
        if layout.tracked and not self.backwards:
            with torch.no_grad():
                for slot, source, _, offset, _ in self._delays:
                    needed = history[source][-offset:] if layout.uniform else history[source]
                    end = torch.stack(needed, 1)
                    self._memory.keep(self._keys[slot], before[slot], end, layout.of_end(end.shape[1]))
        return tuple(torch.stack(history[slot], 1) for slot in self._outputs)

    def _delayed(
        self, history: list[Any], t: int, offset: int, state: torch.Tensor, last: torch.Tensor | None
    ) -> torch.Tensor:
        """The value `offset` steps away; `state` is [batch, offset, *shape], what is before the sequence."""
        source = t + offset if self.backwards else t - offset
        if not 0 <= source < len(history):
            return state[:, 0 if self.backwards else t]
        value: torch.Tensor = history[source]
        if self.backwards and last is not None:
            # A sequence that ends earlier begins its way back here.
            inside = (source <= last).reshape(-1, *(1,) * (value.dim() - 1))
            value = torch.where(inside, value, state[:, 0])
        return value
