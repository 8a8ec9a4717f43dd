"""Lowering: a Function graph becomes a flat list of torch steps, once per (outputs, training flag).

Blocks are opened, aliases removed, and a few groups of steps replaced by one that gives the same numbers:
bias additions join their product, and a ReLU in front of a max-pooling moves behind it, where it has a
quarter of the cells to look at (max and ReLU are both monotone, so values and gradients are the same).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..variables import Constant, Parameter, Variable, _Stored
from . import kernels
from .graph import graph_version, producers_first
from .infer import check_data_types
from .kernels import Kernel, Node
from .missing import unavailable
from .opcodes import Op

if TYPE_CHECKING:
    from ..ops.functions import CompositeFunction, PrimitiveFunction

_FUSED_BLOCKS = {
    "CrossEntropyWithSoftmax": (
        {Op.TransposeTimes, Op.ReduceElements, Op.Minus},
        (Op.Minus, Op.ReduceElements, Op.TransposeTimes),
        kernels.cross_entropy,
    ),
    "ClassificationError": (
        {Op.Hardmax, Op.TransposeTimes, Op.Minus},
        (Op.Minus, None, Op.TransposeTimes),
        kernels.classification_error,
    ),
}


class _Step:
    """One call: kernel(values of `inputs`) -> value of `output`."""

    __slots__ = ("convolves", "inputs", "kernel", "node", "output")

    def __init__(
        self, kernel: Kernel | None, inputs: Sequence[Variable], output: Variable, node: Node | None
    ):
        self.kernel = kernel
        self.inputs = list(inputs)
        self.output = output
        self.node = node
        self.convolves = node is not None and node.op is Op.Convolution


class Program:
    """A lowered graph: call `run` with one tensor per argument."""

    def __init__(self, outputs: Sequence[Variable], training: bool):
        self.training = training
        self._bound: dict[Variable, Variable] = {}
        self._steps: list[_Step] = []
        self._requested = [self._resolve(v) for v in outputs]
        self._collect(self._requested)
        self._fuse()
        self._assign_slots()

    # Flattening
    def _resolve(self, variable: Variable) -> Variable:
        """Follow block arguments, block results and aliases to the variable that holds the value."""
        while True:
            if variable in self._bound:
                variable = self._bound[variable]
                continue
            owner = variable.owner
            if owner is None:
                return variable
            if owner.op in (Op.NoOp, Op.Pass):
                variable = owner.operands[0]
            elif owner.body is not None and not self._is_fused(owner):
                self._bound.update(owner.argument_map)
                variable = owner.body.outputs[variable._index]
            else:
                return variable

    @staticmethod
    def _is_fused(block: PrimitiveFunction) -> bool:
        """Whether a loss block is the standard one over vectors, which has a kernel of its own."""
        known = _FUSED_BLOCKS.get(block.block_name)
        if known is None or block.body is None:
            return False
        operations, (root, left, right), _ = known
        body = producers_first([block.body.root])
        arguments = list(block.argument_map)
        if {f.op for f in body} != operations or len(body) != 3 or len(arguments) != 2:
            return False
        if any(len(v.shape) != 1 or not v.has_batch_axis() for v in arguments):
            return False
        top = block.body.root
        owners = [v.owner.op if v.owner else None for v in top.operands]
        if top.op is not root or owners != [left, right]:
            return False
        reduction = next((f for f in body if f.op is Op.ReduceElements), None)
        if reduction is not None and reduction.raw_attributes.get("reductionOpName") != "LogSum":
            return False
        # The dot product must be of the second argument (the label) with (the hardmax of) the first.
        product = next(f for f in body if f.op is Op.TransposeTimes)
        label, scores = product.operands
        scores = scores.owner.operands[0] if scores.owner else scores
        minuend = top.operands[0]
        if isinstance(minuend, Constant) and (minuend.shape != () or minuend.value != 1.0):
            return False
        return label is arguments[1] and scores is arguments[0]

    def _collect(self, outputs: Sequence[Variable]) -> None:
        done: set[Variable] = set()
        stack = list(reversed(outputs))
        expanded: dict[Variable, list[Variable]] = {}
        while stack:
            variable = stack[-1]
            owner = variable.owner
            if variable in done or owner is None:
                done.add(variable)
                stack.pop()
                continue
            if variable not in expanded:
                operands = list(owner.argument_map.values()) if owner.body is not None else owner.operands
                expanded[variable] = [self._resolve(v) for v in operands]
                stack.extend(v for v in reversed(expanded[variable]) if v not in done)
                continue
            stack.pop()
            done.add(variable)
            self._emit(owner, expanded[variable], variable)

    def _emit(self, function: PrimitiveFunction, operands: list[Variable], output: Variable) -> None:
        if not output.known_shape:
            raise ValueError(f"The shape of '{output!r}' is not known; replace all placeholders first.")
        if output.has_sequence_axis():
            raise unavailable("computing on sequences")
        if function.body is not None:
            self._steps.append(_Step(_FUSED_BLOCKS[function.block_name][2], operands, output, None))
            return
        check_data_types(function.op, operands, operands)
        node = Node(function.op, operands, function.raw_attributes, output, self.training)
        self._steps.append(_Step(None, operands, output, node))

    # Rewriting
    def _fuse(self) -> None:
        producer = {step.output: step for step in self._steps}
        uses: dict[Variable, int] = dict.fromkeys(self._requested, 1)
        for step in self._steps:
            for variable in step.inputs:
                uses[variable] = uses.get(variable, 0) + 1
        requested = set(self._requested)
        dropped: set[_Step] = set()

        def only_user(variable: Variable) -> _Step | None:
            step = producer.get(variable)
            return step if step is not None and uses[variable] == 1 and variable not in requested else None

        for step in self._steps:
            node = step.node
            if node is None:
                continue
            if node.op is Op.Plus and isinstance(step.inputs[1], _Stored):
                before = only_user(step.inputs[0])
                if before is not None and before.node is not None and before.kernel is None:
                    bias = step.inputs[1]
                    shape = before.output.shape
                    if before.node.op is Op.Convolution and bias.shape == (shape[0],) + (1,) * (
                        len(shape) - 1
                    ):
                        step.kernel = kernels.convolution(before.node)
                        step.convolves = True
                    elif (
                        before.node.op is Op.Times
                        and bias.shape == shape
                        and self._plain_product(before.node)
                    ):
                        step.kernel = kernels.dense(node, before.node)
                    else:
                        continue
                    step.inputs = [*before.inputs, bias]
                    dropped.add(before)
            elif node.op is Op.Pooling and int(node.attributes["poolingType"]) == 0:
                before = only_user(step.inputs[0])
                if before is not None and before.node is not None and before.node.op is Op.ReLU:
                    pool = kernels.build(node)
                    # relu_ may overwrite: the pooling's backward needs its input and indices, not its result.
                    step.kernel = lambda x, pool=pool: torch.relu_(pool(x))
                    step.inputs = list(before.inputs)
                    dropped.add(before)
        self._steps = [step for step in self._steps if step not in dropped]
        for step in self._steps:
            if step.kernel is None:
                assert step.node is not None
                step.kernel = kernels.build(step.node)

    @staticmethod
    def _plain_product(node: Node) -> bool:
        rank = len(node.operands[0].shape) - int(node.attributes["outputRank"])
        return node.batched(1) and not node.batched(0) and len(node.operands[1].shape) == rank

    # Running
    def _assign_slots(self) -> None:
        slots: dict[Variable, int] = {}
        self.arguments: list[Variable] = []
        self.parameters: list[Parameter] = []
        self._stored: list[tuple[int, _Stored]] = []

        def slot(variable: Variable) -> int:
            if variable in slots:
                return slots[variable]
            index = slots[variable] = len(slots)
            if isinstance(variable, _Stored):
                self._stored.append((index, variable))
                if isinstance(variable, Parameter):
                    self.parameters.append(variable)
            elif variable.owner is None:
                self.arguments.append(variable)
            return index

        self._code: list[tuple[Any, tuple[int, ...], int]] = []
        for step in self._steps:
            inputs = tuple(slot(v) for v in step.inputs)
            self._code.append((step.kernel, inputs, slot(step.output)))
        self._results = [slot(v) for v in self._requested]
        self._argument_slots = {variable: slots[variable] for variable in self.arguments}
        self._size = len(slots)
        for step in self._steps:
            weight = step.inputs[0] if step.convolves else None
            if isinstance(weight, _Stored) and len(weight.shape) == 4:
                # Kept channels-last, or oneDNN would reorder the kernel at every step.
                weight.prefer_channels_last()

    def run(self, feeds: dict[Variable, torch.Tensor]) -> list[torch.Tensor]:
        values: list[Any] = [None] * self._size
        for index, stored in self._stored:
            values[index] = stored.tensor
        for variable, index in self._argument_slots.items():
            values[index] = feeds[variable]
        for kernel, inputs, output in self._code:
            values[output] = kernel(*[values[i] for i in inputs])
        return [values[i] for i in self._results]


def lower(function: CompositeFunction, outputs: Sequence[Variable], training: bool) -> Program:
    """The program of `outputs`, from the function's cache when its graph has not changed since."""
    key = (tuple(outputs), training)
    cached = function.programs.get(key)
    if cached is None or cached[0] != graph_version():
        cached = function.programs[key] = (graph_version(), Program(outputs, training))
    program: Program = cached[1]
    return program
