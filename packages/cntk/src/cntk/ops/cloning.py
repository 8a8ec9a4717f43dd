"""Copies of a graph, with variables replaced and parameters shared, copied or frozen."""

from __future__ import annotations

from ..internal import graph
from ..internal.opcodes import Op
from ..variables import Constant, Parameter, Variable
from .base import CloneMethod, being_traced
from .nodes import CompositeFunction, PrimitiveFunction, infer_graph
from .user import UserFunction


class Cloner:
    def __init__(
        self, method: CloneMethod, substitutions: dict[Variable, Variable], same_user_functions: bool = False
    ):
        self.method = method
        self._same_user_functions = same_user_functions
        self._copies_inputs = method is not CloneMethod.share
        self.variables = dict(substitutions)

    def variable(self, old: Variable) -> Variable:
        if old in self.variables:
            return self.variables[old]
        new = old
        if (old.is_input or old.is_placeholder) and self._copies_inputs and old not in being_traced:
            new = Variable(
                old._shape,
                old._dtype,
                old.needs_gradient,
                old.is_sparse,
                old._dynamic_axes,
                old.name,
                kind=old.kind_name,
            )
        elif isinstance(old, Parameter) and self.method is CloneMethod.clone:
            new = Parameter(old.shape, old.value if old.known_shape else old._init, old.dtype, name=old.name)
        elif (isinstance(old, Parameter) and self.method is CloneMethod.freeze) or (
            isinstance(old, Constant) and self.method is not CloneMethod.share
        ):
            new = Constant(old.value, old.shape, old.dtype, name=old.name)
        self.variables[old] = new
        return new

    def clone(self, root: PrimitiveFunction) -> PrimitiveFunction:
        result = root
        functions = graph.producers_first([root])
        own = set(functions)
        copied: set[PrimitiveFunction] = set()
        stand_ins: dict[Variable, Variable] = {}  # for values of a recurrence that are copied later
        copies = []
        for function in functions:
            if (
                function is not root
                and function.results
                and all(v in self.variables and v not in stand_ins for v in function.results)
            ):
                continue  # replaced as a whole by the caller's substitutions
            for operand in function.operands:
                owner = operand.owner
                if owner in own and owner not in copied and operand not in self.variables:
                    # Of other inputs it may be of another size and over other axes.
                    stand_in = Variable(
                        None, operand._dtype, dynamic_axes=None, kind="Placeholder", name=operand.name
                    )
                    self.variables[operand] = stand_ins[operand] = stand_in
            result = self._copy(function)
            copied.add(function)
            copies.append(result)
            for old, new in zip(function.results, result.results, strict=True):
                if old in stand_ins or old not in self.variables:
                    self.variables[old] = new
        if stand_ins:
            closing = {stand_in: self.variables[old] for old, stand_in in stand_ins.items()}
            for copy in copies:
                copy.substitute(closing)
            infer_graph([result])
        return result

    def _copy(self, function: PrimitiveFunction) -> PrimitiveFunction:
        operands = [self.variable(v) for v in function.operands]
        return self.rebuilt(function, operands)

    def rebuilt(self, function: PrimitiveFunction, operands: list[Variable]) -> PrimitiveFunction:
        attributes = dict(function.raw_attributes)
        if isinstance(function, UserFunction) and self._same_user_functions:
            return function.standing_for(operands)  # the same object computes
        if function.body is None:
            return function.with_operands(operands, attributes)
        arguments = {}
        for inner, actual in function.block_arguments.items():
            new = self.variable(actual)
            formal = Variable(
                new._shape, new._dtype, dynamic_axes=new._dynamic_axes, name=new.name, kind="Placeholder"
            )
            arguments[formal] = new
            self.variables[inner] = formal
        body = self.clone(function.body.root)
        return PrimitiveFunction(
            Op.Block,
            operands,
            attributes,
            function.name,
            body=CompositeFunction(body),
            block_name=function.block_name,
            block_arguments=arguments,
        )
