"""The symbolic graph: primitive functions, blocks, and the composites that users hold.

A `PrimitiveFunction` is one operation with its operands and attributes.  A block is a primitive of op Block
whose body is a composite of its own, with placeholders for the arguments.  A `CompositeFunction` is a view of
the graph below one root; every op and layer returns one.  `internal.lower` turns a composite into a torch
program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import Enum, unique
from typing import Any

import numpy as np

from ..axis import Axis
from ..internal import graph
from ..internal.infer import infer_output
from ..internal.missing import module_getattr, unavailable
from ..internal.opcodes import UID_PREFIX, Op
from ..internal.operators import TensorOpsMixin
from ..internal.proto import AxisValue, Shape
from ..internal.uids import new_uid
from ..variables import Constant, Parameter, Variable, is_scalar


@unique
class CloneMethod(Enum):
    """What happens to the parameters of a clone."""

    share = "share"
    clone = "clone"
    freeze = "freeze"


@unique
class ModelFormat(Enum):
    CNTKv2 = 0
    ONNX = 1


class Function(TensorOpsMixin):
    """A function of variables; calling it with variables composes, with arrays evaluates."""

    uid: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Function:
        if cls is Function:
            raise unavailable("cntk.Function(python_function)")
        return super().__new__(cls)

    # What a root provides
    @property
    def root_function(self) -> PrimitiveFunction:
        raise NotImplementedError

    @property
    def op_name(self) -> str:
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[Variable, ...]:
        return tuple(self.root_function.results)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        raise NotImplementedError

    @property
    def is_composite(self) -> bool:
        return False

    @property
    def is_block(self) -> bool:
        return False

    @property
    def is_primitive(self) -> bool:
        return False

    @property
    def name(self) -> str:
        raise NotImplementedError

    # Views on the graph
    @property
    def output(self) -> Variable:
        outputs = self.outputs
        if len(outputs) != 1:
            raise RuntimeError(
                f"A Function instance '{self!r}' with more than one output cannot be implicitly converted "
                "to a Variable."
            )
        return outputs[0]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(v for v in self.inputs if isinstance(v, Parameter))

    @property
    def constants(self) -> tuple[Constant, ...]:
        return tuple(v for v in self.inputs if isinstance(v, Constant))

    @property
    def arguments(self) -> tuple[Variable, ...]:
        leaves = graph.leaves(self.root_function, python_order=True)
        return tuple(v for v in leaves if v.is_input or v.is_placeholder)

    @property
    def placeholders(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.inputs if v.is_placeholder)

    @property
    def signature(self) -> tuple[Variable, ...]:
        return self.arguments

    @property
    def attributes(self) -> dict[str, Any]:
        """The root's attributes in Python terms (shapes in Python order)."""
        return {key: _python_attribute(value) for key, value in self.root_function.raw_attributes.items()}

    @property
    def block_root(self) -> CompositeFunction:
        body = self.root_function.body
        if body is None:
            raise ValueError(f"{self!r} is not a block")
        return body

    def find_all_with_name(self, name: str, depth: int = 0) -> list[Any]:
        """Functions and parameters of that name; a depth other than 0 also looks inside blocks."""
        roots = (
            graph.preorder(self.root_function) if depth else graph.producers_first([self.root_function])[::-1]
        )
        found: list[Any] = [function.composite() for function in roots if function.name == name]
        found.extend(variable for variable in self.inputs if variable.name == name)
        return found

    def find_by_name(self, name: str, depth: int = 0) -> Any:
        found = self.find_all_with_name(name, depth)
        if len(found) > 1:
            raise RuntimeError(f"find_by_name: there are {len(found)} functions or variables named '{name}'")
        return found[0] if found else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        outputs = self.outputs
        if len(outputs) == 1 and hasattr(Variable, name):
            return getattr(outputs[0], name)
        found = self.find_all_with_name(name)
        if found:
            return found[0]
        if len(outputs) != 1:
            raise AttributeError(
                f"Function does not have '{name}' and it cannot be looked up in its outputs because it does "
                "not have exactly one"
            )
        raise AttributeError(f"'Variable' object has no attribute '{name}'")

    # Composition
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        formal = self.arguments
        given: dict[Variable, Any] = {}
        if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
            given = dict(args[0])
        else:
            by_name = {variable.name: variable for variable in formal if variable.name}
            for key, value in kwargs.items():
                if key not in by_name:
                    raise TypeError(f"got an unexpected keyword argument '{key}'")
                given[by_name[key]] = value
            if len(args) + len(kwargs) != len(formal):
                raise TypeError(
                    f"CNTK Function expected {len(formal)} arguments, got {len(args) + len(kwargs)}"
                )
            given.update(zip((v for v in formal if v not in given), args, strict=True))
        if all(isinstance(value, (np.ndarray, list)) or np.isscalar(value) for value in given.values()):
            return self.eval(given)
        return self.clone(CloneMethod.share, given)

    def clone(
        self, method: CloneMethod | str, substitutions: dict[Any, Any] | None = None
    ) -> CompositeFunction:
        """A copy of the graph with variables replaced; see `CloneMethod` for its parameters."""
        mapping = {to_variable(old): to_variable(new) for old, new in (substitutions or {}).items()}
        return _Cloner(CloneMethod(method), mapping).clone(self.root_function).composite()

    def replace_placeholders(self, substitutions: dict[Any, Any]) -> Function:
        """Replace placeholders in place and infer the shapes that depend on them."""
        mapping = {to_variable(old): to_variable(new) for old, new in substitutions.items()}
        for old in mapping:
            if not old.is_placeholder:
                raise ValueError(f"replace_placeholders: {old!r} is not a placeholder")
        for function in graph.producers_first([self.root_function]):
            function.substitute(mapping)
        graph.touch_graph()
        return self

    def replace_placeholder(self, substitution: Any) -> Function:
        placeholders = self.placeholders
        if len(placeholders) != 1:
            raise ValueError(
                f"replace_placeholder: the function has {len(placeholders)} placeholders, not one"
            )
        return self.replace_placeholders({placeholders[0]: substitution})

    # Computation
    def eval(
        self, arguments: Any = None, outputs: Any = None, device: Any = None, as_numpy: bool = True
    ) -> Any:
        """The values of the outputs: an array, or a dictionary when there are several."""
        from ..internal.evaluate import evaluate

        wanted = self.outputs if outputs is None else tuple(to_variable(v) for v in outputs)
        values = evaluate(self, arguments, wanted, as_numpy)
        return values[wanted[0]] if len(wanted) == 1 else values

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise unavailable("Function.forward")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise unavailable("Function.backward")

    def train(
        self,
        minibatch_source: Any,
        minibatch_size: Any = 32,
        streams: Any = None,
        model_inputs_to_streams: Any = None,
        parameter_learners: Any = (),
        callbacks: Any = (),
        progress_frequency: Any = None,
        max_epochs: int | None = None,
        epoch_size: int | None = None,
        max_samples: int | None = None,
    ) -> Any:
        """Train this criterion (loss, or loss and metric) on a source or on a tuple of arrays.

        `callbacks` may hold progress writers, and a checkpoint, cross-validation and test configuration.
        Returns a record of `updates` and `epoch_summaries` (loss, metric, samples), and `test_summary` after
        a test.  Raises ValueError when the training would never end or the data does not fit the arguments.
        """
        from ..train.function_train import train

        options = {name: value for name, value in locals().items() if name not in ("self", "train")}
        return train(self, **options)

    def test(
        self,
        minibatch_source: Any,
        minibatch_size: Any = 32,
        streams: Any = None,
        model_inputs_to_streams: Any = None,
        callbacks: Any = None,
    ) -> Any:
        """The criterion's last part averaged over a source or arrays: a record of `metric`, `samples`."""
        from ..train.function_train import evaluate

        return evaluate(self, minibatch_source, minibatch_size, streams, model_inputs_to_streams, callbacks)

    def grad(
        self,
        at: Any,
        wrt: Any = None,
        outputs: Any = None,
        device: Any = None,
        as_numpy: bool = True,
        grad_root: Any = None,
    ) -> Any:
        """Gradients of the output with root gradient 1, summed over the batch for parameters."""
        from ..internal.evaluate import gradients

        if outputs is not None or grad_root is not None:
            raise unavailable("Function.grad with outputs or grad_root")
        variables = [to_variable(v) for v in (self.arguments if wrt is None else wrt)]
        values = gradients(self, at, variables)
        return next(iter(values.values())) if len(values) == 1 else values

    # Files
    def save(
        self,
        filename: str | os.PathLike[str],
        format: ModelFormat = ModelFormat.CNTKv2,
        use_external_files_to_store_parameters: bool = False,
    ) -> None:
        """Write the model file; missing directories are created."""
        from ..internal.modelfile import save_model

        if format.value != ModelFormat.CNTKv2.value or use_external_files_to_store_parameters:
            raise unavailable("saving models as ONNX or with external parameter files")
        save_model(self.root_function, filename)

    def restore(self, filename: str | os.PathLike[str]) -> None:
        """Take over the parameter values of a saved model of the same structure."""
        from ..internal.modelfile import restore_model

        restore_model(self, filename)

    @staticmethod
    def load(model: Any, device: Any = None, format: ModelFormat = ModelFormat.CNTKv2) -> Function:
        """Read a model from a file or from bytes."""
        from ..internal.modelfile import load_model_file

        if format.value != ModelFormat.CNTKv2.value:
            raise unavailable("loading ONNX models")
        return load_model_file(model).composite()

    # Text
    def __repr__(self) -> str:
        kind = self.root_function.display_name if self.is_composite else self.op_name
        of = self.arguments if self.is_composite else self.root_function.python_operands
        arguments = ", ".join(repr(v) for v in of if v.is_input or v.is_placeholder or v.is_output)
        results = ", ".join(repr(v) for v in self.outputs)
        return f"{f'Composite({kind})' if self.is_composite else kind}: {arguments} -> {results}"

    def __str__(self) -> str:
        root = self.root_function
        direct = all(v.owner is None for v in root.operands)
        kind = root.display_name if direct else "Composite"
        prefix = f"{root.name}: " if root.name else ""
        arguments = ", ".join(
            f"{v.name}: {_type_text(v)}" if v.name else _type_text(v) for v in self.arguments
        )
        results = ", ".join(_type_text(v) for v in self.outputs)
        return f"{prefix}{kind}({arguments}) -> {results if len(self.outputs) == 1 else f'Tuple[{results}]'}"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __rshift__(self, other: Any) -> Any:
        """`f >> g` is g after f."""
        return other(self)

    def __len__(self) -> int:
        raise TypeError("object of type 'Function' has no len()")

    def __bool__(self) -> bool:
        return True


def _type_text(variable: Variable) -> str:
    kind = "SparseTensor" if variable.is_sparse else "Tensor"
    dims = ["?" if dim < 0 else str(dim) for dim in variable.shape]
    if variable._dtype != np.float32:
        dims.insert(0, f"np.{variable._dtype}")
    if variable._shape is None:
        tensor = "tensor"
    elif not variable.shape:
        tensor = f"np.{variable._dtype}"
    else:
        tensor = f"{kind}[{','.join(dims)}]"
    return f"Sequence[{tensor}]" if variable.has_sequence_axis() else tensor


def _python_attribute(value: Any) -> Any:
    if isinstance(value, Shape):
        return tuple(reversed(value))
    if isinstance(value, AxisValue):
        return Axis(value.static_axis_idx, value.name, value.is_ordered)
    if isinstance(value, list):
        return [_python_attribute(item) for item in value]
    return value


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
        argument_map: dict[Variable, Variable] | None = None,
    ):
        self.op = op
        self.operands = list(operands)
        self.raw_attributes: dict[str, Any] = attributes if attributes is not None else {}
        self._name = name
        self.uid = uid or new_uid(UID_PREFIX.get(op, op.name))
        self.body = body
        self.block_name = block_name
        self.argument_map: dict[Variable, Variable] = argument_map or {}
        self._composite: CompositeFunction | None = None
        if op is Op.Combine:
            # A Combine has no values of its own: its outputs are its operands.
            self.results = list(self.operands)
        else:
            count = len(body.outputs) if body is not None else 1
            dtype = next((v._dtype for v in self.operands), np.dtype(np.float32))
            self.results = [
                Variable(
                    None,
                    dtype,
                    kind="Output",
                    uid=f"{self.uid}_Output_{i}",
                    name=name if count == 1 else "",
                    owner=self,
                    index=i,
                )
                for i in range(count)
            ]
        self.infer()

    def infer(self) -> None:
        """Determine the shapes of the results (and of parameters) from the operands."""
        if self.op is Op.Combine:
            self.results = list(self.operands)
            return
        if self.body is not None:
            for placeholder, actual in self.argument_map.items():
                placeholder._shape = actual._shape
                placeholder._dynamic_axes = actual.dynamic_axes
                placeholder._dtype = actual._dtype
            for function in graph.producers_first([self.body.root]):
                function.infer()
            for result, inner in zip(self.results, self.body.outputs, strict=True):
                result._shape, result._dynamic_axes, result._dtype = (
                    inner._shape,
                    inner.dynamic_axes,
                    inner._dtype,
                )
            return
        result = self.results[0]
        result._shape, result._dynamic_axes = infer_output(self.op, self.operands, self.raw_attributes)
        result.needs_gradient = any(v.needs_gradient for v in self.operands)
        # The weight of a layer that was made before its input decides nothing: the data operand does.
        result._dtype = next(
            (v._dtype for v in self.operands if not v.is_placeholder), self.operands[0]._dtype
        )

    def substitute(self, mapping: dict[Variable, Variable]) -> None:
        self.operands = [mapping.get(v, v) for v in self.operands]
        self.argument_map = {inner: mapping.get(v, v) for inner, v in self.argument_map.items()}
        self.infer()

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

    @property
    def display_name(self) -> str:
        return self.block_name if self.op is Op.Block else self.op.name

    @property
    def root_function(self) -> PrimitiveFunction:
        return self

    @property
    def op_name(self) -> str:
        return self.display_name

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(self.operands)

    @property
    def is_primitive(self) -> bool:
        return True

    @property
    def is_block(self) -> bool:
        return self.op is Op.Block

    @property
    def block_arguments_mapping(self) -> list[tuple[Variable, Variable]]:
        return list(self.argument_map.items())


class CompositeFunction(Function):
    """The graph below one root."""

    def __init__(self, root: PrimitiveFunction, uid: str | None = None):
        self.root = root
        self.uid = uid or new_uid("CompositeFunction")
        self.programs: dict[Any, Any] = {}

    @property
    def root_function(self) -> PrimitiveFunction:
        return self.root

    @property
    def op_name(self) -> str:
        return "CompositeFunctionOpName"

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return tuple(graph.leaves(self.root))

    @property
    def is_composite(self) -> bool:
        return True

    @property
    def is_block(self) -> bool:
        return self.root.is_block


class _Cloner:
    def __init__(self, method: CloneMethod, substitutions: dict[Variable, Variable]):
        self.method = method
        self.variables = dict(substitutions)

    def variable(self, old: Variable) -> Variable:
        if old in self.variables:
            return self.variables[old]
        new = old
        if isinstance(old, Parameter) and self.method is CloneMethod.clone:
            new = Parameter(old.shape, old.value, old.dtype, name=old.name)
        elif (isinstance(old, Parameter) and self.method is CloneMethod.freeze) or (
            isinstance(old, Constant) and self.method is CloneMethod.clone
        ):
            new = Constant(old.value, old.shape, old.dtype, name=old.name)
        self.variables[old] = new
        return new

    def clone(self, root: PrimitiveFunction) -> PrimitiveFunction:
        result = root
        for function in graph.producers_first([root]):
            if function is not root and all(v in self.variables for v in function.results):
                continue  # replaced as a whole by the caller's substitutions
            result = self._copy(function)
            for old, new in zip(function.results, result.results, strict=True):
                self.variables.setdefault(old, new)
        return result

    def _copy(self, function: PrimitiveFunction) -> PrimitiveFunction:
        operands = [self.variable(v) for v in function.operands]
        attributes = dict(function.raw_attributes)
        if function.body is None:
            return PrimitiveFunction(function.op, operands, attributes, function.name)
        arguments = {}
        for inner, actual in function.argument_map.items():
            new = self.variable(actual)
            formal = Variable(
                new._shape, new._dtype, dynamic_axes=new.dynamic_axes, name=new.name, kind="Placeholder"
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
            argument_map=arguments,
        )


def to_variable(value: Any, dtype: Any = np.float32) -> Variable:
    """A variable, a function's only output, or a constant for a number or an array."""
    if isinstance(value, Variable):
        return value
    if isinstance(value, Function):
        return value.output
    if is_scalar(value):
        return Constant(float(value), (), dtype)
    if isinstance(value, (np.ndarray, list, tuple)):
        return Constant(np.asarray(value, dtype=dtype), dtype=dtype)
    raise ValueError(f"could not convert instance of type {type(value)} to an array")


def make_block(
    op_name: str,
    body: Callable[..., Any],
    arguments: Sequence[Any],
    name: str = "",
    attributes: dict[str, Any] | None = None,
) -> CompositeFunction:
    """A block around `body`: traced with placeholders, applied to `arguments`."""
    actual = [to_variable(argument) for argument in arguments]
    formal = [
        Variable(v._shape, v._dtype, dynamic_axes=v.dynamic_axes, name=v.name, kind="Placeholder")
        for v in actual
    ]
    traced = body(*formal)
    if not isinstance(traced, Function) or traced.output.owner is None:
        raise ValueError(f"the body of block {op_name} is not a function of its arguments")
    inner = CompositeFunction(traced.root_function)
    owned = [v for v in inner.inputs if isinstance(v, (Parameter, Constant))]
    mapping = dict(zip(formal, actual, strict=True))
    for variable in inner.inputs:
        if variable not in mapping and not isinstance(variable, (Parameter, Constant)):
            raise ValueError(f"block {op_name}: {variable!r} must be an argument of the block")
    return PrimitiveFunction(
        Op.Block,
        [*owned, *actual],
        attributes,
        name,
        body=inner,
        block_name=op_name,
        argument_map=mapping,
    ).composite()


def BlockFunction(op_name: str, name: str) -> Callable[[Callable[..., Any]], CompositeFunction]:
    """Decorator: turn a Python function of tensors into a block with placeholder arguments."""

    def decorate(function: Callable[..., Any]) -> CompositeFunction:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        return make_block(op_name, function, [Variable(name=n, kind="Placeholder") for n in names], name)

    return decorate


def load_model(model: Any, device: Any = None, format: ModelFormat = ModelFormat.CNTKv2) -> Function:
    return Function.load(model, device, format)


__getattr__ = module_getattr("cntk.ops.functions")
