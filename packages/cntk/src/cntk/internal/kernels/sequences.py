"""Operations along sequences: delays, picking and placing steps, and the way to static axes and back.

Where a kernel needs to know how long the sequences are, it gets their layout behind its operands.
"""

from __future__ import annotations

from typing import Any

import torch

from ..layout import Layout, expand_mask
from ..opcodes import Op
from .node import Kernel, Node


def initial_state(node: Node) -> Kernel:
    """The initial state as a batch of values: (state, number of sequences) -> [batch, *shape].

    Of a state that is a sequence (then with its layout) a past value takes the last step, a future one the
    first.
    """
    lead = min(node.leads[1], 1)
    shape = node.result.shape
    missing = len(shape) - node.rank(1)

    def run(state: torch.Tensor, count: int, layout: Layout | None = None) -> torch.Tensor:
        if layout is not None:
            first = node.op is Op.FutureValue
            rows = torch.arange(len(state), device=state.device)
            state = state[:, 0] if first else state[rows, layout.last(state.device)]
        state = state.reshape((*state.shape[:lead], *(1,) * missing, *state.shape[lead:]))
        return state.expand(count, *shape)

    return run


def _from_sequences(node: Node) -> Kernel:
    """A delay that takes what lies outside from other sequences: past values from their ends, future ones
    from their beginnings; one of a single step is repeated."""
    steps = int(node.attributes["offset"])
    past = node.op is Op.PastValue

    def run(x: torch.Tensor, state: torch.Tensor, layout: Layout, of_state: Layout) -> torch.Tensor:
        if of_state.longest > 1 and int(of_state.lengths.min()) < steps:
            raise ValueError(f"The initial state of a delay by {steps} steps is shorter than that.")
        length = x.shape[1]
        rows = torch.arange(len(x), device=x.device).unsqueeze(1)
        at = torch.arange(length, device=x.device).unsqueeze(0).expand(len(x), length)
        source = at - steps if past else at + steps
        ends = layout.last(x.device).unsqueeze(1)
        outside = source < 0 if past else source > ends
        lengths = torch.as_tensor(of_state.lengths, device=x.device).unsqueeze(1)
        where = lengths + source if past else source - ends - 1
        where = torch.where(lengths == 1, 0, where).clamp(0, state.shape[1] - 1)
        inner = x[rows, source.clamp(0, length - 1)]
        return torch.where(expand_mask(outside, inner), state[rows, where], inner)

    return run


def delay(node: Node) -> Kernel:
    """PastValue and FutureValue of a value that does not depend on them."""
    if node.leads[1] == 2:
        return _from_sequences(node)
    steps = int(node.attributes["offset"])
    expand = initial_state(node)
    memory, key = node.memory, node.result

    def past(x: torch.Tensor, state: torch.Tensor, layout: Layout, *of_state: Layout) -> torch.Tensor:
        length = x.shape[1]
        front = memory.before(key, expand(state, len(x), *of_state), steps, layout)
        memory.keep(key, front, x, layout)
        return torch.cat([front[:, :length], x[:, : max(length - steps, 0)]], 1)

    def future(x: torch.Tensor, state: torch.Tensor, layout: Layout, *of_state: Layout) -> torch.Tensor:
        count, length = x.shape[:2]
        shift = min(steps, length)
        back = expand(state, count, *of_state).unsqueeze(1)
        y = torch.cat([x[:, shift:], back.expand(count, shift, *x.shape[2:])], 1)
        if layout.uniform:
            return y
        index = torch.arange(length, device=x.device) + steps
        inside = index <= layout.last(x.device).unsqueeze(1)
        return torch.where(expand_mask(inside, y), y, back)

    return past if node.op is Op.PastValue else future


def _filled(condition: torch.Tensor, layout: Layout) -> torch.Tensor:
    """How many steps of the result come from each step and those before it; a condition above 1 repeats."""
    wanted = condition.reshape(condition.shape[:2]).clamp(min=0)
    wanted = torch.where(layout.mask(condition.device), wanted, 0.0)
    return torch.ceil(wanted.cumsum(1)).long()


def where(node: Node) -> Kernel:
    """The indices of the steps where the condition holds."""
    single = node.lead == 1

    def run(condition: torch.Tensor, layout: Layout) -> torch.Tensor:
        filled = _filled(condition, layout)
        counts = filled[:, -1]
        steps = torch.arange(max(int(counts.max()), 1), device=filled.device)
        # Behind its end a sequence goes on with its last index.
        steps = torch.minimum(steps, (counts - 1).clamp(min=0).unsqueeze(1))
        index = torch.searchsorted(filled, steps, right=True).clamp(max=filled.shape[1] - 1)
        index = index.to(condition.dtype)
        return index[:, 0] if single else index

    return run


def where_layout(node: Node) -> Kernel | None:
    if node.lead == 1:
        return None
    return lambda condition, layout: Layout(_filled(condition, layout)[:, -1].cpu().numpy())


def packed_index(node: Node) -> Kernel:
    return lambda source, index: index


def gather_packed(node: Node) -> Kernel:
    def run(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(x), device=x.device)
        return x[rows.unsqueeze(1) if index.dim() == 2 else rows, index.long()]

    return run


def scatter_packed(node: Node) -> Kernel:
    """Steps go to their places in longer sequences; what is left is zero."""

    def run(x: torch.Tensor, index: torch.Tensor, condition: torch.Tensor, *layouts: Layout) -> torch.Tensor:
        count, length = condition.shape[:2]
        where_ = index.long()
        if node.leads[0] == 1:
            y = x.new_zeros((count, length, *x.shape[1:]))
            rows = torch.arange(count, device=x.device)
            return y.index_put((rows, where_.reshape(-1)), x)
        rows, steps = layouts[0].mask(x.device).nonzero(as_tuple=True)
        y = x.new_zeros((count, length, *x.shape[2:]))
        return y.index_put((rows, where_[rows, steps]), x[rows, steps])

    return run


def reconcile(node: Node) -> Kernel:
    """The first operand with the dynamic axes of the second."""
    lead, target = node.leads[0], node.leads[1]
    if lead == target:
        return lambda x, like: x
    if lead > target:
        return lambda x, like: x.squeeze(1)

    def run(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        between = (1,) * (target - lead)
        x = x.reshape((*x.shape[:lead], *between, *x.shape[lead:]))
        return x.expand(*like.shape[:target], *x.shape[target:])

    return run


def unpack_sequence(node: Node) -> Kernel:
    """Sequences as a static axis, padded with a value; and where there is data."""
    padding = float(node.attributes.get("sequenceUnpackPaddingValue", 0.0))
    with_mask = len(node.results) > 1

    def run(x: torch.Tensor, layout: Layout) -> Any:
        mask = layout.mask(x.device)
        y = x if layout.uniform else torch.where(expand_mask(mask, x), x, padding)
        return (y, mask.to(x.dtype)) if with_mask else y

    return run


def to_sequence(node: Node) -> Kernel:
    def run(x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return x if lengths is None else x[:, : int(lengths.max())]

    return run


def to_sequence_layout(node: Node) -> Kernel:
    def run(x: torch.Tensor, lengths: torch.Tensor | None = None) -> Layout:
        if lengths is None:
            return Layout(torch.full((len(x),), x.shape[1]).numpy())
        return Layout(lengths.reshape(-1).long().cpu().numpy())

    return run


def to_sequence_like(node: Node) -> Kernel:
    return lambda x, like: x[:, : like.shape[1]]


def unchanged(node: Node) -> Kernel:
    """The batch axis as a static axis, and back: the same tensor."""
    return lambda x: x


BUILDERS: dict[Op, Any] = {
    Op.PastValue: delay,
    Op.FutureValue: delay,
    Op.Where: where,
    Op.PackedIndex: packed_index,
    Op.GatherPacked: gather_packed,
    Op.ScatterPacked: scatter_packed,
    Op.ReconcileDynamicAxis: reconcile,
    Op.UnpackSequence: unpack_sequence,
    Op.ToSequence: to_sequence,
    Op.ToSequenceLike: to_sequence_like,
    Op.UnpackBatch: unchanged,
    Op.ToBatch: unchanged,
}
# Operations that give rise to a sequence axis of their own: what makes its layout.
LAYOUT_BUILDERS: dict[Op, Any] = {Op.Where: where_layout, Op.ToSequence: to_sequence_layout}
