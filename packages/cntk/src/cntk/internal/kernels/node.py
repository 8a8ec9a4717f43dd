"""What a kernel builder is told about its operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...variables import Variable
from ..carried import Memory
from ..layout import Layout, pad_sequences
from ..opcodes import Op

# Tensors (and layouts of sequence axes) in, a tensor out; a tuple for an operation with several results.
Kernel = Callable[..., Any]


@dataclass
class Node:
    """One operation of a program, with its operands' static facts.

    `leads` are the leading dynamic axes of each operand's tensor: 0 for a plain tensor [*shape], 1 for
    [batch, *shape], 2 for [batch, longest, *shape]; inside the loop of a recurrence, whose axis is gone, one
    less.  `lead` is that of the result.
    """

    op: Op
    operands: Sequence[Variable]
    attributes: dict[str, Any]
    results: Sequence[Variable]
    training: bool
    leads: Sequence[int]
    lead: int
    user: Any = field(default=None)  # the Python object behind a user function
    memory: Memory = field(default_factory=Memory)  # of the function that is computed, for its delays

    @property
    def result(self) -> Variable:
        return self.results[0]

    def batched(self, index: int) -> bool:
        return self.leads[index] > 0

    def rank(self, index: int) -> int:
        return len(self.operands[index].shape)


def aligned(node: Node, index: int, rank: int | None = None) -> Kernel | None:
    """The view that lets operand `index` broadcast against the result, or None when none is needed.

    Static axes align at the end, dynamic ones at the front: a batch without time gets a unit axis for it.
    """
    rank = len(node.result.shape) if rank is None else rank
    lead = node.leads[index]
    ones = (1,) * (rank - node.rank(index))
    if lead == 0 or (lead == node.lead and not ones):
        return None
    between = (1,) * (node.lead - lead)

    def view(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:lead], *between, *ones, *x.shape[lead:])

    return view


def padded_rows(value: Any, layout: Layout | None, dtype: Any, zeros: bool = False) -> torch.Tensor:
    """An array, or a list of sequences, as a kernel's tensor."""
    if layout is None:
        return torch.from_numpy(np.array(value, dtype=dtype, order="C"))
    sequences = [torch.from_numpy(np.array(row, dtype=dtype, order="C")) for row in value]
    if not zeros:
        return pad_sequences(sequences)
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)


def per_sample(node: Node, kernel: Kernel, index: int = 0) -> Kernel:
    """A kernel on [batch, *shape] tensors, for an operand (the last argument) with any dynamic axes."""
    lead = node.leads[index]
    if lead == 1:
        return kernel

    def run(*arguments: torch.Tensor) -> torch.Tensor:
        *others, x = arguments
        y = kernel(*others, x.reshape(-1, *x.shape[lead:]))
        result: torch.Tensor = y.reshape(*x.shape[:lead], *y.shape[1:])
        return result

    return run
