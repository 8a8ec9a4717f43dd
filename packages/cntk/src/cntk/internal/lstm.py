"""LSTM recurrences as one step of a program: the cell's derivative is written down, so that PyTorch records
one operation for a whole sequence, not some thirty for every time step.

The numbers are those of the recurrence step by step, up to the order of additions in the weights' gradient.
Which recurrences these are is found by their operations, whatever layer or file they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from ..variables import Variable
from .carried import Memory
from .kernels import Node
from .kernels.sequences import initial_state
from .layout import Layout
from .opcodes import Op

if TYPE_CHECKING:
    from ..ops.nodes import PrimitiveFunction

_DELAYS = (Op.PastValue, Op.FutureValue)
_SIGMOIDS = (Op.Sigmoid, Op.StableSigmoid)
# The gates as they are stacked.
_INPUT, _CANDIDATE, _FORGET, _OUTPUT = range(4)
Operands = Mapping["PrimitiveFunction", list[Variable]]
OperandsOf = Callable[["PrimitiveFunction"], list[Variable]]


@dataclass
class _Found:
    """The values that an LSTM recurrence depends on, and its states."""

    projected: Variable  # b + x W, [4 n] over the sequence
    weight: Variable  # [n, 4 n], of the state before
    factor: Variable | None  # of a stabiliser
    delay_h: PrimitiveFunction
    delay_c: PrimitiveFunction
    h: Variable
    c: Variable


class _NoMatch(Exception):
    pass


class _Matcher:
    """Looks for the cell's operations among the members of a cycle, and counts those that it has seen."""

    def __init__(self, members: Sequence[PrimitiveFunction], operands: Operands):
        self._members = set(members)
        self._operands = operands
        self._seen: set[PrimitiveFunction] = set()
        self._stacked: Variable | None = None

    def complete(self) -> bool:
        return self._seen == self._members

    def operands(self, value: Variable, *ops: Op) -> list[Variable]:
        """The operands of the member that made a value, which is one of these operations."""
        owner = value.owner
        if owner is None or owner not in self._members or owner.op not in ops:
            raise _NoMatch
        self._seen.add(owner)
        return self._operands[owner]

    def made_by(self, value: Variable, *ops: Op) -> bool:
        return value.owner in self._members and value.owner is not None and value.owner.op in ops

    def gate(self, value: Variable, index: int, width: int) -> None:
        """A value is the gate of that index, activated."""
        ops = (Op.Tanh,) if index == _CANDIDATE else _SIGMOIDS
        (part,) = self.operands(value, *ops)
        (stacked,) = self.operands(part, Op.Slice)
        assert part.owner is not None
        attributes = part.owner.raw_attributes
        begin, end = attributes.get("beginIndex"), attributes.get("endIndex")
        if (begin, end, attributes.get("sliceStrides", 1)) != (index * width, (index + 1) * width, 1):
            raise _NoMatch
        if stacked.shape != (4 * width,) or self._stacked not in (None, stacked):
            raise _NoMatch
        self._stacked = stacked

    def product(self, value: Variable, op: Op) -> tuple[Variable, Variable]:
        """The two factors, the one that `op` made last."""
        one, other = self.operands(value, Op.ElementTimes)
        return (one, other) if self.made_by(other, op) else (other, one)

    def cell(self, delay_h: PrimitiveFunction, delay_c: PrimitiveFunction) -> _Found:
        before_h, before_c = delay_h.results[0], delay_c.results[0]
        h, c = self._operands[delay_h][0], self._operands[delay_c][0]
        if len(h.shape) != 1 or h.shape != c.shape:
            raise _NoMatch
        (width,) = h.shape
        self._seen.update((delay_h, delay_c))
        show, squashed = self.product(h, Op.Tanh)
        self.gate(show, _OUTPUT, width)
        if self.operands(squashed, Op.Tanh) != [c]:
            raise _NoMatch
        parts = self.operands(c, Op.Plus)
        kept = next((v for v in parts if before_c in self.operands(v, Op.ElementTimes)), None)
        if kept is None or parts[0] is parts[1]:
            raise _NoMatch
        written = parts[1] if kept is parts[0] else parts[0]
        others = [v for v in self.operands(kept, Op.ElementTimes) if v is not before_c]
        if len(others) != 1:
            raise _NoMatch
        (forget,) = others
        self.gate(forget, _FORGET, width)
        write, candidate = self.product(written, Op.Tanh)
        self.gate(write, _INPUT, width)
        self.gate(candidate, _CANDIDATE, width)
        assert self._stacked is not None
        sums = self.operands(self._stacked, Op.Plus)
        recurrent = next((v for v in sums if self.made_by(v, Op.Times)), None)
        projected = next((v for v in sums if v is not recurrent), None)
        if recurrent is None or projected is None or projected.owner in self._members:
            raise _NoMatch
        weight, state = self.operands(recurrent, Op.Times)
        factor = None
        if state is not before_h:
            one, other = self.operands(state, Op.ElementTimes)
            factor = other if one is before_h else one
            if before_h not in (one, other) or factor.shape != () or factor.dynamic_axes:
                raise _NoMatch
        if weight.shape != (width, 4 * width) or weight.dynamic_axes or projected.shape != (4 * width,):
            raise _NoMatch
        return _Found(projected, weight, factor, delay_h, delay_c, h, c)


def match(
    members: Sequence[PrimitiveFunction],
    operands_of: OperandsOf,
    outputs: Sequence[Variable],
    memory: Memory,
) -> LstmLoop | None:
    """The one step for a cycle that is an LSTM's, or None."""
    operands = {f: operands_of(f) for f in members}
    delays = [f for f in members if f.op in _DELAYS]
    if len(delays) != 2 or delays[0].op is not delays[1].op:
        return None
    axis = delays[0].results[0].sequence_axis
    if any(int(f.raw_attributes["offset"]) != 1 or f.results[0].sequence_axis != axis for f in delays):
        return None
    for delay_h, delay_c in (delays, delays[::-1]):
        matcher = _Matcher(members, operands)
        try:
            found = matcher.cell(delay_h, delay_c)
        except (_NoMatch, ValueError):
            continue
        inside = all(v in (found.h, found.c) for v in outputs)
        initial = [operands[delay_h][1], operands[delay_c][1]]
        outside = all(v.owner not in members and v.sequence_axis is None for v in initial)
        if matcher.complete() and inside and outside and found.projected.sequence_axis == axis:
            return LstmLoop(found, initial, outputs, memory, operands_of)
    return None


def _projection(projected: Variable, operands_of: OperandsOf) -> tuple[Variable, Variable, Variable] | None:
    """(x, W, b) of projected inputs that are b + x W with a vector x; a sparse x has a product of its own."""
    plus = projected.owner
    if plus is None or plus.op is not Op.Plus:
        return None
    for b, product in (operands_of(plus), operands_of(plus)[::-1]):
        times = product.owner
        if times is None or times.op is not Op.Times or product.sequence_axis is None:
            continue
        weight, x = operands_of(times)
        plain = not b.dynamic_axes and not weight.dynamic_axes and not x.is_sparse
        if plain and b.shape == projected.shape and (len(weight.shape), len(x.shape)) == (2, 1):
            return x, weight, b
    return None


class LstmLoop:
    """The program of one LSTM recurrence: external values in, the states used outside out, as a tuple."""

    def __init__(
        self,
        found: _Found,
        initial: Sequence[Variable],
        outputs: Sequence[Variable],
        memory: Memory,
        operands_of: OperandsOf,
    ):
        self._memory = memory
        self._keys = (found.delay_h.results[0], found.delay_c.results[0])
        self._backwards = found.delay_h.op is Op.FutureValue
        self._picked = [0 if v is found.h else 1 for v in outputs]
        self._expand = []
        for delay, state in zip((found.delay_h, found.delay_c), initial, strict=True):
            leads = [2, len(state.dynamic_axes)]
            node = Node(delay.op, [delay.results[0], state], {}, delay.results, False, leads, 2)
            self._expand.append(initial_state(node))
        projection = _projection(found.projected, operands_of)
        self.replaced = [] if projection is None else [found.projected]
        self._projects = projection is not None
        axis = found.projected.sequence_axis
        data = [found.projected] if projection is None else list(projection)
        self.inputs: list[Any] = [axis, found.weight, *initial]
        self.inputs += [] if found.factor is None else [found.factor]
        self._data_at = len(self.inputs)
        self.inputs += data

    def __call__(
        self, layout: Layout, weight: torch.Tensor, h: torch.Tensor, c: torch.Tensor, *others: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        factors, data = others[: self._data_at - 4], others[self._data_at - 4 :]
        for factor in factors:
            weight = weight * factor
        states = [expand(v, len(data[0])) for expand, v in zip(self._expand, (h, c), strict=True)]
        order = None if layout.uniform or not self._backwards else _backwards(layout, weight.device)
        x = _reversed(data[0], order) if self._backwards else data[0]
        library = self._projects and 1 not in self._picked and not layout.tracked
        if library and weight.dtype == torch.float32:
            return (self._turned(_library(x, data[1], data[2], weight, *states), order),) * len(self._picked)
        if self._projects:
            x = torch.addmm(data[2], x.reshape(-1, x.shape[-1]), data[1]).reshape(*x.shape[:2], -1)
        before = [v.unsqueeze(1) for v in states]
        if not self._backwards:
            before = [
                self._memory.before(key, v, 1, layout) for key, v in zip(self._keys, states, strict=True)
            ]
        results = _lstm(x, weight, before[0][:, 0], before[1][:, 0])
        if not self._backwards:
            for key, first, values in zip(self._keys, before, results, strict=True):
                self._memory.keep(key, first, values, layout)
        return tuple(self._turned(results[i], order) for i in self._picked)

    def _turned(self, values: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
        return _reversed(values, order) if self._backwards else values


def _library(
    x: torch.Tensor, input_weight: torch.Tensor, bias: torch.Tensor, weight: torch.Tensor,
    h: torch.Tensor, c: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """The hidden states by PyTorch's LSTM (oneDNN, cuDNN), whose gates stand in another order."""
    width = weight.shape[0]

    def rows(matrix: torch.Tensor) -> torch.Tensor:
        gates = matrix.reshape(-1, 4, width).unbind(1)
        order = (gates[_INPUT], gates[_FORGET], gates[_CANDIDATE], gates[_OUTPUT])
        return torch.cat(order, 1).t().contiguous()

    of_bias = rows(bias.unsqueeze(0)).reshape(-1)
    weights = [rows(input_weight), rows(weight), of_bias, torch.zeros_like(of_bias)]
    state = [h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()]
    training = torch.is_grad_enabled()
    result: torch.Tensor = torch.lstm(x, state, weights, True, 1, 0.0, training, False, True)[0]
    return result


def _backwards(layout: Layout, device: torch.device) -> torch.Tensor:
    """[batch, longest]: each sequence's steps from its end to its beginning, what is behind it as it is."""
    steps = torch.arange(layout.longest, device=device)
    last = layout.last(device).unsqueeze(1)
    return torch.where(steps <= last, last - steps, steps)


def _reversed(values: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    if order is None:
        return values.flip(1)
    result: torch.Tensor = _Reorder.apply(values, order)  # type: ignore[no-untyped-call]
    return result


class _Reorder(torch.autograd.Function):
    """Steps in another order, one that undoes itself: the way back is the same."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(order)
        return values[torch.arange(len(values), device=values.device).unsqueeze(1), order]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (order,) = ctx.saved_tensors
        return gradient[torch.arange(len(gradient), device=gradient.device).unsqueeze(1), order], None


class _Lstm(torch.autograd.Function):
    """([batch, time, 4 n] projected inputs, [n, 4 n] weight, [batch, n] h, c) -> h, c of [batch, time, n]."""

    @staticmethod
    def forward(
        ctx: Any, projected: torch.Tensor, weight: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch, time, width = len(projected), projected.shape[1], weight.shape[0]
        # Time first: every step is a block of memory, worked on in place.
        gates = projected.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        cells = gates.new_empty(time, batch, width)
        squashed, states = torch.empty_like(cells), torch.empty_like(cells)
        by_gate = gates.view(time, batch, 4, width)
        ctx.save_for_backward(gates, weight, h, c, cells, squashed, states)
        write, candidate, forget, show = (part.unbind(0) for part in by_gate.unbind(2))
        for step, both, i, u, f, o, cell, tanh, state in zip(
            gates.unbind(0), by_gate[:, :, _FORGET:].unbind(0), write, candidate, forget, show,
            cells.unbind(0), squashed.unbind(0), states.unbind(0), strict=True,
        ):  # fmt: skip
            step.addmm_(h, weight)
            i.sigmoid_()
            u.tanh_()
            both.sigmoid_()
            c = torch.mul(f, c, out=cell).addcmul_(i, u)
            h = torch.mul(o, torch.tanh(c, out=tanh), out=state)
        return states.transpose(0, 1), cells.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_h: torch.Tensor, of_c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gates, weight, h, c, cells, squashed, states = ctx.saved_tensors
        time, batch, width = cells.shape
        write, candidate, forget, show = gates.view(time, batch, 4, width).unbind(2)
        # Everything but the sums over time is there for all steps at once.
        before = torch.cat([c.unsqueeze(0), cells[:-1]])
        of_cell = torch.stack(
            [candidate * write * (1 - write), write * (1 - candidate**2), before * forget * (1 - forget)], 2
        )
        through = show * (1 - squashed**2)
        of_show = squashed * show * (1 - show)
        changes = torch.empty_like(gates)
        parts = changes.view(time, batch, 4, width)
        back = weight.t()
        of_h, of_c = of_h.transpose(0, 1), of_c.transpose(0, 1)
        change_h, change_c = torch.zeros_like(h), torch.zeros_like(c)
        for t in range(time - 1, -1, -1):
            change_h = of_h[t] + change_h if t == time - 1 else torch.addmm(of_h[t], changes[t + 1], back)
            change_c = torch.addcmul(change_c, change_h, through[t]).add_(of_c[t])
            torch.mul(change_h, of_show[t], out=parts[t, :, _OUTPUT])
            torch.mul(change_c.unsqueeze(1), of_cell[t], out=parts[t, :, :_OUTPUT])
            change_c = change_c.mul_(forget[t])
        past = torch.cat([h.unsqueeze(0), states[:-1]])
        of_weight = past.reshape(-1, width).t() @ changes.reshape(-1, 4 * width)
        return changes.transpose(0, 1), of_weight, changes[0] @ back, change_c


def _lstm(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h, c = _Lstm.apply(*given)  # type: ignore[no-untyped-call]
    return h, c
