"""Lowering: a Function graph becomes a flat list of torch steps, once per (outputs, training flag).

Blocks are opened, aliases removed, recurrences turned into loops, and groups of steps joined (see `steps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from ..axis import Axis
from ..variables import Constant, Parameter, Variable, _Stored
from . import kernels, lstm
from .carried import Memory
from .graph import graph_version, leaves, producers_first
from .infer import check_data_types
from .kernels import Kernel, Node, criteria
from .layout import Layout
from .loops import DELAYS, Loop, components
from .opcodes import Op
from .sparse import SparseRows
from .steps import Key, Slots, Step, fuse

if TYPE_CHECKING:
    from ..ops.nodes import CompositeFunction, PrimitiveFunction

_FUSED_BLOCKS = {
    "CrossEntropyWithSoftmax": (
        {Op.TransposeTimes, Op.ReduceElements, Op.Minus},
        (Op.Minus, Op.ReduceElements, Op.TransposeTimes),
        criteria.cross_entropy,
        criteria.sparse_cross_entropy,
    ),
    "ClassificationError": (
        {Op.Hardmax, Op.TransposeTimes, Op.Minus},
        (Op.Minus, None, Op.TransposeTimes),
        criteria.classification_error,
        criteria.sparse_classification_error,
    ),
}

# A tensor per argument, and a layout per sequence axis.
Feeds = Mapping[Any, Any]


@dataclass(frozen=True)
class _Dense:
    """The key of an argument that is made dense where it comes sparse."""

    variable: Variable


def _made_dense(value: Any) -> torch.Tensor:
    return value.dense() if isinstance(value, SparseRows) else value


def _either(dense: Any, sparse: Any) -> Kernel:
    """A kernel that looks at what its second input is."""

    def run(first: torch.Tensor, second: Any, *others: torch.Tensor) -> torch.Tensor:
        kernel = sparse if isinstance(second, SparseRows) else dense
        result: torch.Tensor = kernel(first, second, *others)
        return result

    return run


class Run:
    """What a program computed: a tensor per output, and the layouts of those that are sequences."""

    def __init__(self, values: list[torch.Tensor], layouts: list[Layout | None]):
        self.values = values
        self.layouts = layouts


class Program:
    """A lowered graph: call `run` with one tensor per argument."""

    def __init__(self, outputs: Sequence[Variable], training: bool, memory: Memory | None = None):
        self.training = training
        self._memory = Memory() if memory is None else memory
        self._bound: dict[Variable, Variable] = {}
        self._outputs = list(outputs)
        self._requested: list[Any] = [self._resolve(v) for v in outputs]
        self._operands: dict[PrimitiveFunction, list[Variable]] = {}
        self._steps: list[Step] = []
        self._replaced: list[Variable] = []  # values that a step makes for itself
        self._collect()
        self._drop_replaced()
        self._steps = fuse(self._steps, self._requested)
        self.takes_sparse: set[Variable] = set()  # the arguments that may be SparseRows
        self._admit_sparse()
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
                self._bound.update(owner.block_arguments)
                variable = owner.body.outputs[variable._index]
            else:
                return variable

    @staticmethod
    def _is_fused(block: PrimitiveFunction) -> bool:
        """Whether a loss block is the standard one over vectors, which has a kernel of its own."""
        known = _FUSED_BLOCKS.get(block.block_name)
        if known is None or block.body is None:
            return False
        operations, (root, left, right), *_ = known
        body = producers_first([block.body.root])
        arguments = list(block.block_arguments)
        if {f.op for f in body} != operations or len(body) != 3 or len(arguments) != 2:
            return False
        if any(len(v.shape) != 1 or not v.has_batch_axis() for v in arguments):
            return False
        if arguments[0].dynamic_axes != arguments[1].dynamic_axes:
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

    def _operands_of(self, function: PrimitiveFunction) -> list[Variable]:
        if function not in self._operands:
            given = (
                list(function.block_arguments.values()) if function.body is not None else function.operands
            )
            self._operands[function] = [self._resolve(v) for v in given]
        return self._operands[function]

    def _collect(self) -> None:
        """All functions, producers first; a delayed value is looked at last, for it may be in a cycle."""
        order: list[PrimitiveFunction] = []
        done: set[PrimitiveFunction] = set()
        starts = [v.owner for v in self._requested if v.owner is not None]
        delayed: list[PrimitiveFunction] = []
        while starts:
            stack = [(starts.pop(0), False)]
            while stack:
                function, expanded = stack.pop()
                if expanded:
                    order.append(function)
                    continue
                if function in done:
                    continue
                done.add(function)
                stack.append((function, True))
                operands = self._operands_of(function)
                if function.op in DELAYS:
                    delayed.append(function)
                    operands = operands[1:]
                stack.extend(
                    (v.owner, False)
                    for v in reversed(operands)
                    if v.owner is not None and v.owner not in done
                )
            if not starts and delayed:
                sources = [self._operands_of(f)[0].owner for f in delayed]
                starts = [owner for owner in sources if owner is not None and owner not in done]
                starts = list(dict.fromkeys(starts))
        if delayed:
            self._emit_with_loops(order)
        else:
            for function in order:
                self._emit(function)

    def _emit_with_loops(self, functions: list[PrimitiveFunction]) -> None:
        def sources(function: PrimitiveFunction) -> list[PrimitiveFunction]:
            return [v.owner for v in self._operands_of(function) if v.owner is not None]

        for component in components(functions, sources):
            if len(component) > 1 or component[0] in sources(component[0]):
                self._emit_loop(component, functions)
            else:
                self._emit(component[0])

    def _emit_loop(self, members: list[PrimitiveFunction], everything: list[PrimitiveFunction]) -> None:
        inside = set(members)
        for function in members:
            self._check(function)
        used = {v for f in everything if f not in inside for v in self._operands_of(f)}
        used.update(self._requested)
        outputs = [v for f in members for v in f.results if v in used]
        loop: Loop | lstm.LstmLoop
        known = lstm.match(members, self._operands_of, outputs, self._memory)
        if known is not None:
            loop = known
            self._replaced.extend(known.replaced)
        else:
            operands = {f: self._operands_of(f) for f in members}
            loop = Loop(members, operands, outputs, self.training, self._memory)
        self._steps.append(Step(loop, loop.inputs, members[0], None))
        for i, variable in enumerate(outputs):
            self._steps.append(Step(itemgetter(i), [members[0]], variable, None))

    def _drop_replaced(self) -> None:
        """Take out what made values that nobody wants any more, and what made that."""
        while self._replaced:
            value = self._replaced.pop()
            made = next((step for step in self._steps if step.output is value), None)
            wanted = value in self._requested or any(value in step.inputs for step in self._steps)
            if made is not None and not wanted and made.node is not None:
                self._steps.remove(made)
                self._replaced.extend(v for v in made.inputs if isinstance(v, Variable) and v.is_output)

    def _check(self, function: PrimitiveFunction) -> None:
        for output in function.results:
            if not output.known_shape or not output.axes_known:
                raise ValueError(f"The shape of '{output!r}' is not known; replace all placeholders first.")
        operands = self._operands_of(function)
        if function.body is None:
            check_data_types(function.op, operands, operands)

    def _emit(self, function: PrimitiveFunction) -> None:
        self._check(function)
        operands = self._operands_of(function)
        if function.body is not None:
            _, _, kernel, sparse = _FUSED_BLOCKS[function.block_name]
            self._steps.append(Step(kernel, operands, function.results[0], None, sparse))
            return
        node = Node(
            function.op,
            operands,
            function.raw_attributes,
            function.results,
            self.training,
            [len(v.dynamic_axes) for v in operands],
            len(function.results[0].dynamic_axes),
            getattr(function, "user", None),
            self._memory,
        )
        inputs: list[Key] = [*operands, *(operands[i].sequence_axis for i in kernels.layouts_of(node))]
        several = len(function.results) > 1
        self._steps.append(Step(None, inputs, function if several else function.results[0], node))
        if several:
            for i, result in enumerate(function.results):
                self._steps.append(Step(itemgetter(i), [function], result, None))
        layout = kernels.build_layout(node)
        axis = function.results[0].sequence_axis
        if layout is not None and axis is not None:
            self._steps.append(Step(layout, inputs, axis, None))

    def _admit_sparse(self) -> None:
        """Let products and losses take sparse arguments as they are, and make them dense for the rest."""
        able: dict[Variable, list[Step]] = {}
        for step in self._steps:
            value = step.inputs[1] if step.sparse is not None and len(step.inputs) > 1 else None
            if not isinstance(value, Variable) or value.needs_gradient:
                continue
            if value.is_input and value.is_sparse and len(value.shape) == 1:
                able.setdefault(value, []).append(step)
        for value, takers in able.items():
            self.takes_sparse.add(value)
            for step in takers:
                step.kernel = _either(step.kernel, step.sparse)
            dense = _Dense(value)
            for step in self._steps:
                if step not in takers or step.inputs.count(value) > 1:
                    step.inputs = [
                        dense if key is value and (i != 1 or step not in takers) else key
                        for i, key in enumerate(step.inputs)
                    ]
            self._requested = [dense if v is value else v for v in self._requested]
            if any(dense in step.inputs for step in self._steps) or dense in self._requested:
                self._steps.insert(0, Step(_made_dense, [value], dense, None))

    # Running
    def _assign_slots(self) -> None:
        slots = Slots()
        self._code = slots.code(self._steps)
        self._results = [slots(v) for v in self._requested]
        self._result_axes = [
            slots(v.sequence_axis) if v.sequence_axis is not None else None for v in self._outputs
        ]
        made = {step.output for step in self._steps}
        self.arguments: list[Variable] = []
        self.parameters: list[Parameter] = []
        self._stored: list[tuple[int, _Stored]] = []
        self._given: list[tuple[int, Key]] = []
        for key, index in slots.of.items():
            if isinstance(key, _Stored):
                self._stored.append((index, key))
                if isinstance(key, Parameter):
                    self.parameters.append(key)
            elif key not in made:
                self._given.append((index, key))
                if isinstance(key, Variable):
                    self.arguments.append(key)
        self._size = len(slots.of)
        for step in self._steps:
            weight = step.inputs[0] if step.convolves else None
            if isinstance(weight, _Stored) and len(weight.shape) == 4:
                # Kept channels-last, or oneDNN would reorder the kernel at every step.
                weight.prefer_channels_last()

    @property
    def axes(self) -> list[Axis]:
        """The sequence axes whose layouts must be fed."""
        return [key for _, key in self._given if isinstance(key, Axis)]

    def _compute(self, feeds: Feeds) -> list[Any]:
        values: list[Any] = [None] * self._size
        for index, stored in self._stored:
            values[index] = stored.tensor
        for index, key in self._given:
            values[index] = feeds[key]
        for kernel, inputs, output in self._code:
            values[output] = kernel(*[values[i] for i in inputs])
        return values

    def run(self, feeds: Feeds) -> list[torch.Tensor]:
        values = self._compute(feeds)
        return [values[i] for i in self._results]

    def execute(self, feeds: Feeds) -> Run:
        """Like `run`, with the layouts of the outputs that are sequences."""
        values = self._compute(feeds)
        layouts = [None if axis is None else values[axis] for axis in self._result_axes]
        return Run([values[i] for i in self._results], layouts)


_MOST_SIZES = 32  # programs that are kept for one graph


class SizedPrograms:
    """The programs of a graph whose inputs have axes of which only the data says the size: one for each size
    that comes, of a copy of the graph with it.  To its users it is a program."""

    def __init__(self, function: CompositeFunction, outputs: Sequence[Variable], training: bool):
        self.training = training
        self._root = function.root
        self._outputs = list(outputs)
        found: dict[Variable, None] = {}
        for output in outputs:
            owners = [] if output.owner is None else leaves(output.owner)
            found.update(dict.fromkeys(owners if output.owner is not None else [output]))
        self.arguments = [v for v in found if v.is_input]
        self.parameters = [v for v in found if isinstance(v, Parameter)]
        self.axes: list[Axis] = []
        self.takes_sparse: set[Variable] = set()
        self._memory = function.memory
        self._open = [v for v in self.arguments if min(v.shape, default=0) < 0]
        self._sized: dict[Any, tuple[Program, dict[Variable, Variable]]] = {}

    def _program(self, feeds: Feeds) -> tuple[Program, dict[Any, Any]]:
        key = tuple(tuple(feeds[v].shape[len(v.dynamic_axes) :]) for v in self._open)
        if key not in self._sized:
            if len(self._sized) >= _MOST_SIZES:
                self._sized.pop(next(iter(self._sized)))
            self._sized[key] = self._made(key)
        program, stand_ins = self._sized[key]
        return program, {stand_ins.get(k, k): value for k, value in feeds.items()}

    def _made(self, sizes: Sequence[tuple[int, ...]]) -> tuple[Program, dict[Variable, Variable]]:
        from ..ops.base import CloneMethod
        from ..ops.cloning import Cloner

        stand_ins = {
            v: Variable(size, v._dtype, v.needs_gradient, v.is_sparse, v._dynamic_axes, v.name, uid=v.uid)
            for v, size in zip(self._open, sizes, strict=True)
        }
        cloner = Cloner(CloneMethod.share, stand_ins, same_user_functions=True)
        cloner.clone(self._root)
        outputs = [cloner.variables.get(v, v) for v in self._outputs]
        return Program(outputs, self.training, self._memory), stand_ins

    def run(self, feeds: Feeds) -> list[torch.Tensor]:
        program, given = self._program(feeds)
        return program.run(given)

    def execute(self, feeds: Feeds) -> Run:
        program, given = self._program(feeds)
        return program.execute(given)


def has_open_sizes(function: CompositeFunction) -> bool:
    """Whether an input of the graph has an axis of which only the data says the size."""
    return any(v.is_input and min(v.shape, default=0) < 0 for v in leaves(function.root))


def lower(function: CompositeFunction, outputs: Sequence[Variable], training: bool) -> Program:
    """The program of `outputs`, from the function's cache when its graph has not changed since."""
    key = (tuple(outputs), training)
    cached = function.programs.get(key)
    if cached is None or cached[0] != graph_version():
        made: Any = SizedPrograms if has_open_sizes(function) else None
        if made is None:
            program = Program(outputs, training, function.memory)
        else:
            program = made(function, outputs, training)
        cached = function.programs[key] = (graph_version(), program)
    result: Program = cached[1]
    return result
