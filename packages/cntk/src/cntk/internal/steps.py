"""The steps of a program, and the groups of them that are replaced by one that gives the same numbers:
bias additions join their product, and a ReLU in front of a max-pooling moves behind it, where it has a
quarter of the cells to look at (max and ReLU are both monotone, so values and gradients are the same).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..variables import Variable, _Stored
from . import kernels
from .kernels import Kernel, Node
from .opcodes import Op

# What stands in a slot: a variable's tensor, an axis's layout, a function's tuple of results.
Key = Any


class Step:
    """One call: kernel(values of `inputs`) -> value of `output`."""

    __slots__ = ("convolves", "inputs", "kernel", "node", "output", "sparse")

    def __init__(
        self,
        kernel: Kernel | None,
        inputs: Sequence[Key],
        output: Key,
        node: Node | None,
        sparse: Kernel | None = None,
    ):
        self.kernel = kernel
        self.inputs = list(inputs)
        self.output = output
        self.node = node
        self.convolves = node is not None and node.op is Op.Convolution
        self.sparse = sparse  # the kernel for a second input that is SparseRows

    @property
    def plain(self) -> Node | None:
        """The node, when the step does nothing but it."""
        return self.node if self.kernel is None else None


def fuse(steps: list[Step], requested: Iterable[Key]) -> list[Step]:
    """The steps with what can be joined joined, every one with a kernel."""
    producer = {step.output: step for step in steps}
    wanted = set(requested)
    uses: dict[Key, int] = dict.fromkeys(wanted, 1)
    for step in steps:
        for key in step.inputs:
            uses[key] = uses.get(key, 0) + 1
    dropped: set[Step] = set()

    def only_user(key: Key) -> Step | None:
        step = producer.get(key)
        return step if step is not None and uses[key] == 1 and key not in wanted else None

    for step in steps:
        node = step.plain
        if node is None:
            continue
        if node.op is Op.Plus and isinstance(step.inputs[1], _Stored):
            before = only_user(step.inputs[0])
            if before is not None and before.plain is not None and before not in dropped:
                joined = _with_bias(node, before.plain, before.output, step.inputs[1])
                if joined is not None:
                    step.kernel = joined
                    step.sparse = kernels.sparse_product(before.plain, node)
                    step.convolves = before.convolves
                    step.inputs = [*before.inputs, step.inputs[1]]
                    dropped.add(before)
        elif node.op is Op.Pooling and int(node.attributes["poolingType"]) == 0:
            before = only_user(step.inputs[0])
            if before is not None and before.plain is not None and before.plain.op is Op.ReLU:
                pool = kernels.build(node)
                # relu_ may overwrite: the pooling's backward needs its input and indices, not its result.
                step.kernel = lambda x, pool=pool: torch.relu_(pool(x))
                step.inputs = list(before.inputs)
                dropped.add(before)
    left = [step for step in steps if step not in dropped]
    for step in left:
        if step.kernel is None:
            assert step.node is not None
            step.kernel = kernels.build(step.node)
            step.sparse = kernels.sparse_product(step.node)
    return left


def _with_bias(plus: Node, before: Node, output: Variable, bias: _Stored) -> Kernel | None:
    shape = output.shape
    if before.op is Op.Convolution and not before.attributes.get("transpose"):
        if bias.shape == (shape[0],) + (1,) * (len(shape) - 1):
            return kernels.convolution(before)
    elif before.op is Op.Times and bias.shape == shape and _plain_product(before):
        return kernels.dense(plus, before)
    return None


def _plain_product(node: Node) -> bool:
    rank = node.rank(0) - int(node.attributes["outputRank"])
    free = any(dim < 0 for v in node.operands for dim in v.shape)
    return (
        node.batched(1)
        and not node.batched(0)
        and node.rank(1) == rank
        and not free
        and node.attributes.get("inferInputRankToMap") != -2
    )


class Slots:
    """Numbers for keys, and the steps as (kernel, input slots, output slot)."""

    def __init__(self) -> None:
        self.of: dict[Key, int] = {}

    def __call__(self, key: Key) -> int:
        return self.of.setdefault(key, len(self.of))

    def code(self, steps: Iterable[Step]) -> list[tuple[Any, tuple[int, ...], int]]:
        return [(step.kernel, tuple(self(v) for v in step.inputs), self(step.output)) for step in steps]
