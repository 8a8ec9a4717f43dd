"""Nodes of the graph: one operation with its operands, and the composite that users hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..internal import graph
from ..internal.carried import Memory
from ..internal.infer import assumed, infer_output, result_count
from ..internal.infer.shapes import SliceRangeError
from ..internal.opcodes import Op, op_name
from ..internal.uids import new_uid
from ..variables import Constant, ShapeOrUnknown, Variable, check_renaming, shape_text
from .base import Function

DELAYS = (Op.PastValue, Op.FutureValue)
# Operations that write to their constants, and those whose operands may be of different types.
_KEEP_CONSTANTS = (Op.Assign, Op.BatchNormalization, Op.Cast, Op.Combine)
_MOST_PASSES = 10  # over a recurrence, until nothing changes; two are usual
_CNTK_TYPES: dict[int, np.dtype] = {1: np.dtype(np.float32), 2: np.dtype(np.float64), 4: np.dtype(np.float16)}


class PrimitiveFunction(Function):
    """One operation.  `operands` are in stored order (Times and Convolution: the parameter first)."""

    def __init__(
        self,
        op: Op,
        operands: Sequence[Variable],
        attributes: dict[str, Any] | None = None,
        name: str = "",
        *,
        uid: str | None = None,
        body: CompositeFunction | None = None,
        block_name: str = "",
        block_arguments: dict[Variable, Variable] | None = None,
    ):
        self.op = op
        self.operands = list(operands)
        self.raw_attributes: dict[str, Any] = attributes if attributes is not None else {}
        self.own_notes: dict[str, Any] = {}  # what users keep with the function (`custom_attributes`)
        self._name = name
        self.uid = uid or new_uid(op_name(op))
        self.body = body
        self.block_name = block_name
        self.block_arguments: dict[Variable, Variable] = block_arguments or {}
        self._composite: CompositeFunction | None = None
        self.takes_initial_shape = False  # a delay of whose shape nothing else tells
        self.results: list[Variable] = self._new_results()
        self.infer()

    def _new_results(self) -> list[Variable]:
        if self.op is Op.Combine:
            # A Combine has no values of its own: its outputs are its operands.
            return list(self.operands)
        if self.body is not None:
            count = len(self.body.outputs)
        else:
            count = result_count(self.op, self.raw_attributes)
        dtype = next((v._dtype for v in self.operands), np.dtype(np.float32))
        return [
            Variable(
                None,
                dtype,
                dynamic_axes=None,
                kind="Output",
                uid=f"{self.uid}_Output_{i}",
                name=self._name,
                owner=self,
                index=i,
            )
            for i in range(count)
        ]

    # Inference
    def infer(self) -> None:
        """Determine the shapes of the results (and of parameters) from the operands."""
        if self.op is Op.Combine:
            self.results = list(self.operands)
        elif self.body is not None:
            self._infer_block(self.body)
        else:
            self._infer_primitive()

    def _infer_block(self, body: CompositeFunction) -> None:
        for placeholder, actual in self.block_arguments.items():
            placeholder.actual = actual
            _copy_type(placeholder, actual)
            placeholder.is_sparse = actual.is_sparse
        infer_graph([body.root])
        for result, inner in zip(self.results, body.outputs, strict=True):
            _copy_type(result, inner)
            result.needs_gradient = any(v.needs_gradient for v in self.operands)

    def _infer_primitive(self) -> None:
        self._type_literals()
        if self.op in DELAYS:
            self._check_delay()
        if self.op in DELAYS and self._awaits_itself():
            for result in self.results:
                result._shape, result._dynamic_axes, result.pending = self._initial_shape(), None, True
            return
        try:
            inferred = infer_output(self.op, self.operands, self.raw_attributes)
        except SliceRangeError as error:
            data = self.operands[0]
            raise RuntimeError(
                f"Function '{self._before_inference()}': {error.text} for input '{data!r}' shape "
                f"'{shape_text(data._shape)}'."
            ) from None
        for result, shape in zip(self.results, inferred.shapes, strict=True):
            result._shape, result._dynamic_axes = shape, inferred.axes
            result.pending = inferred.pending
            result.needs_gradient = self.op is not Op.StopGradient and any(
                v.needs_gradient for v in self.operands
            )
            result._dtype = self._result_type()

    def _type_literals(self) -> None:
        """Numbers written among the operands are of the operands' type."""
        literals = [
            v
            for v in self.operands
            if (isinstance(v, Constant) and v.literal) or getattr(v, "type_unknown", False)
        ]
        others = [v for v in self.operands if v not in literals and v._shape is not None]
        for literal in literals:
            if others and literal._dtype != others[0]._dtype:
                literal.retype(others[0]._dtype)  # type: ignore[attr-defined]
        self._type_constants()

    def _type_constants(self) -> None:
        """Constants stand beside operands of a wider type as copies of that type."""
        if self.op in _KEEP_CONSTANTS:
            return
        data = [v for v in self.operands if not isinstance(v, Constant) and v._shape is not None]
        if not data or any(v._dtype != data[0]._dtype for v in data):
            return
        dtype = data[0]._dtype
        self.operands = [
            v.clone_as(dtype)
            if isinstance(v, Constant) and v.known_shape and v._dtype.itemsize < dtype.itemsize
            else v
            for v in self.operands
        ]

    def _result_type(self) -> np.dtype:
        if self.op is Op.Cast:
            return _CNTK_TYPES[int(self.raw_attributes["newDataType"])]
        if self.op is Op.RandomDistribution and "newDataType" in self.raw_attributes and not self.operands:
            return _CNTK_TYPES[int(self.raw_attributes["newDataType"])]
        # The weight of a layer that was made before its input decides nothing: the data operand does.
        first: np.dtype = self.operands[0]._dtype if self.operands else np.dtype(np.float32)
        return next((v._dtype for v in self.operands if not v.is_placeholder), first)

    def _before_inference(self) -> str:
        arguments = ", ".join(repr(v) for v in self.python_operands)
        return f"{self.display_name}: {arguments} -> Unknown"

    def _check_delay(self) -> None:
        x = self.operands[0]
        if x.axes_known and x._shape is not None and len(x.dynamic_axes) != 2 and not x.is_placeholder:
            raise RuntimeError(
                f"PastValue/FutureValue Function '{self.op.name}: {x!r} -> {self.results[0]!r}': Input "
                f"operand '{x!r}' with #dynamic axes != 2 (1 sequence axis and 1 batch axis) is not "
                "supported."
            )

    def _initial_shape(self) -> ShapeOrUnknown:
        """What the initial state says of a delayed value's shape: data does, a number to broadcast not."""
        state = self.operands[1]
        telling = state.axes_known and (state.dynamic_axes or math.prod(state.shape) > 1)
        telling = telling or self.takes_initial_shape
        return state._shape if telling else None

    def _awaits_itself(self) -> bool:
        """Whether the delayed value is not known because it depends on this very delay."""
        x = self.operands[0]
        if x.owner is None or (x._shape is not None and x.axes_known):
            return x.pending
        return self in graph.producers_first([x.owner])

    def substitute(self, mapping: dict[Variable, Variable]) -> None:
        """Put other variables in the place of operands; inference is the caller's."""
        self.operands = [mapping.get(v, v) for v in self.operands]
        self.block_arguments = {inner: mapping.get(v, v) for inner, v in self.block_arguments.items()}

    def with_operands(self, operands: list[Variable], attributes: dict[str, Any]) -> PrimitiveFunction:
        """The same operation on other operands (of a function that is no block)."""
        return PrimitiveFunction(self.op, operands, attributes, self._name)

    # Views
    def composite(self) -> CompositeFunction:
        if self._composite is None:
            self._composite = CompositeFunction(self)
        return self._composite

    @property
    def python_operands(self) -> list[Variable]:
        """The operands left to right as in Python: products are stored with the right one first."""
        return self.operands[::-1] if self.op in (Op.Times, Op.TransposeTimes) else self.operands

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        check_renaming(self._name, value)
        self._name = value
        for variable in self.results:
            if variable.owner is self:
                variable._name = value

    @property
    def display_name(self) -> str:
        return self.block_name if self.op is Op.Block else op_name(self.op)

    @property
    def root_function(self) -> PrimitiveFunction:
        return self

    @property
    def op_name(self) -> str:
        return self.display_name

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(self.python_operands)

    @property
    def is_primitive(self) -> bool:
        return True

    @property
    def is_block(self) -> bool:
        return self.op is Op.Block


def _copy_type(to: Variable, of: Variable) -> None:
    to._shape, to._dynamic_axes, to._dtype, to.pending = of._shape, of._dynamic_axes, of._dtype, of.pending


def infer_graph(roots: Iterable[PrimitiveFunction]) -> None:
    """Infer everything below `roots`; a recurrence is gone through until its types no longer change."""
    functions = graph.producers_first(roots)
    delays = [f for f in functions if f.op in DELAYS]
    before = assumed.ones  # the body of a block is gone through while the graph around it is
    try:
        _infer_until_nothing_changes(functions, delays)
        unknown = any(v._shape is None for f in functions for v in f.results)
        if delays and unknown and not graph.awaits_shapes(functions):
            assumed.ones = True
            _infer_until_nothing_changes(functions, delays)
    finally:
        assumed.ones = before


def _infer_until_nothing_changes(functions: list[PrimitiveFunction], delays: list[PrimitiveFunction]) -> None:
    before: list[Any] = []
    for _ in range(_MOST_PASSES):
        for function in functions:
            function.infer()
        state = [(v._shape, v._dynamic_axes, v.pending) for f in delays for v in f.results]
        if state == before or not any(
            f in graph.producers_first([x.owner])
            for f in delays
            for x in f.operands[:1]
            if x.owner is not None
        ):
            unknown = next((f for f in delays if f.results[0]._shape is None), None)
            if unknown is None or unknown.takes_initial_shape or graph.awaits_shapes(functions):
                return
            unknown.takes_initial_shape = True
        before = state


class CompositeFunction(Function):
    """The graph below one root."""

    def __init__(self, root: PrimitiveFunction, uid: str | None = None):
        self.root = root
        self.uid = uid or new_uid("CompositeFunction")
        self.programs: dict[Any, Any] = {}
        self.temporary: list[Any] = []  # values that the last evaluation gave with as_numpy=False
        self.memory = Memory()

    @property
    def root_function(self) -> PrimitiveFunction:
        return self.root

    @property
    def op_name(self) -> str:
        return "CompositeFunctionOpName"

    @property
    def name(self) -> str:
        return self.root.name

    @name.setter
    def name(self, value: str) -> None:
        self.root.name = value

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(graph.leaves(self.root, python_order=True))

    @property
    def is_composite(self) -> bool:
        return True

    @property
    def is_block(self) -> bool:
        return self.root.is_block
