"""Function: what every function of variables can do.

A `PrimitiveFunction` (module `nodes`) is one operation with its operands and attributes.  A block is a
primitive of op Block whose body is a composite of its own, with placeholders for the arguments.  A
`CompositeFunction` is a view of the graph below one root; every op and layer returns one.  `internal.lower`
turns a composite into a torch program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum, unique
from typing import TYPE_CHECKING, Any

import numpy as np

from ..internal import graph
from ..internal.absent import ABSENT_FUNCTION_MEMBERS
from ..internal.infer.values import ALL_AXES, ALL_STATIC_AXES, DYNAMIC_AXIS
from ..internal.missing import unavailable
from ..internal.operators import TensorOpsMixin
from ..internal.proto import AxisValue, Shape, SizeT
from ..variables import Constant, Parameter, Variable
from .text import check_types, full_text, signature_text

if TYPE_CHECKING:
    from .nodes import CompositeFunction, PrimitiveFunction


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


class NamedOutput:
    """A result of a traced Python function that gets a name: `Function.NamedOutput(h=value)`."""

    def __init__(self, **kwargs: Any):
        if len(kwargs) != 1:
            raise ValueError("NamedOutput: exactly one name=value is required")
        ((self.name, self.value),) = kwargs.items()

    def function(self) -> Function:
        from .graph_ops import alias

        return alias(self.value, name=self.name)


class _Calls(type):
    """`Function(python_function)` traces it; subclasses are made as usual."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Function:
            from .tracing import trace

            return args[0] if isinstance(args[0], Function) else trace(*args, **kwargs)
        return super().__call__(*args, **kwargs)


# The formal arguments of the Python functions that are being traced: a function made inside of one may depend
# on them without their being arguments of its own.
being_traced: set[Variable] = set()


class Function(TensorOpsMixin, metaclass=_Calls):
    """A function of variables; calling it with variables composes, with arrays evaluates."""

    uid: str
    NamedOutput = NamedOutput

    @staticmethod
    def with_signature(*args: Any, **kwargs: Any) -> Any:
        """Decorator: `@Function` and `@Signature(...)` in one."""
        from ..layers.typing import Signature
        from .tracing import trace

        return lambda function: trace(Signature(*args, **kwargs)(function))

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

    @name.setter
    def name(self, value: str) -> None:
        raise NotImplementedError

    def set_name(self, name: str) -> None:
        """Name the function.  Raises ValueError when it has a name already."""
        self.name = name

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
        # In stored order: of a product the weight first, so the last layer's comes before the first's.
        return tuple(v for v in graph.leaves(self.root_function) if isinstance(v, Parameter))

    @property
    def constants(self) -> tuple[Constant, ...]:
        return tuple(v for v in graph.leaves(self.root_function) if isinstance(v, Constant))

    @property
    def arguments(self) -> tuple[Variable, ...]:
        leaves = graph.leaves(self.root_function, python_order=True)
        return tuple(v for v in leaves if v.is_input or v.is_placeholder)

    @property
    def placeholders(self) -> tuple[Variable, ...]:
        return tuple(v for v in graph.leaves(self.root_function) if v.is_placeholder)

    @property
    def block_arguments_mapping(self) -> list[tuple[Variable, Variable]]:
        """(placeholder of the body, what stands for it) of a block."""
        return list(self.root_function.block_arguments.items())

    @property
    def current_version(self) -> int:
        """CNTK's version number of a stored function."""
        return 24

    @property
    def custom_attributes(self) -> dict[str, Any]:
        """What users keep with the function: numbers, strings, arrays, lists, dictionaries; it is saved."""
        return self.root_function.own_notes

    @custom_attributes.setter
    def custom_attributes(self, values: dict[str, Any]) -> None:
        self.root_function.own_notes = dict(values)

    def get_custom_attributes(self) -> dict[str, Any]:
        return self.custom_attributes

    def reset_custom_attributes(self) -> None:
        self.root_function.own_notes = {}

    def set_attribute(self, name: str, value: Any) -> None:
        """Change the dropout rate ('dropoutRate') or the seed ('rngSeed') of the root.

        Raises ValueError for other attributes and for a function without it.
        """
        attributes = self.root_function.raw_attributes
        if name not in ("dropoutRate", "rngSeed") or name not in attributes:
            raise ValueError(f"set_attribute: '{name}' cannot be set on {self!r}")
        attributes[name] = float(value) if name == "dropoutRate" else SizeT(value)
        graph.touch_graph()

    @property
    def signature(self) -> tuple[Variable, ...]:
        """The arguments, without those of Python functions around this one whose tracing is under way."""
        return tuple(v for v in self.arguments if v not in being_traced)

    @property
    def attributes(self) -> dict[str, Any]:
        """The root's attributes in Python terms (shapes in Python order)."""
        root = self.root_function
        rank = len(root.operands[0].shape) if root.operands else 0
        return {key: _python_attribute(value, rank) for key, value in root.raw_attributes.items()}

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
        found: list[Any] = [function for function in roots if function.name == name]
        found.extend(v for v in graph.leaves(self.root_function) if v.name == name)
        return found

    def as_string(self) -> str:
        return str(self)

    def find_by_uid(self, uid: str, depth: int = 0) -> Any:
        """The function, parameter or variable of that uid, or None."""
        for function in graph.preorder(self.root_function):
            if function.uid == uid or any(variable.uid == uid for variable in function.results):
                return function
        return next((v for v in graph.leaves(self.root_function) if v.uid == uid), None)

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
        if name in ABSENT_FUNCTION_MEMBERS:
            raise AttributeError(str(unavailable(f"Function.{name}")))
        if len(outputs) != 1:
            raise AttributeError(
                f"Function does not have '{name}' and it cannot be looked up in its outputs because it does "
                "not have exactly one"
            )
        raise AttributeError(f"'Variable' object has no attribute '{name}'")

    # Composition
    def argument_map(self, *args: Any, **kwargs: Any) -> dict[Variable, Any]:
        """What each argument of the function is given, by position, name or a dictionary."""
        formal = self.signature
        if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
            return {to_variable(key): value for key, value in args[0].items()}
        given: dict[Variable, Any] = {}
        by_name = {variable.name: variable for variable in formal if variable.name}
        for key, value in kwargs.items():
            if key not in by_name:
                raise TypeError(f"got an unexpected keyword argument '{key}'")
            given[by_name[key]] = value
        values = [part for arg in args for part in _flat(arg)]
        if len(values) + len(kwargs) != len(formal):
            raise TypeError(
                f"CNTK Function expected {len(formal)} arguments, got {len(values) + len(kwargs)}"
            )
        given.update(zip((v for v in formal if v not in given), values, strict=True))
        return given

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], (list, np.ndarray)) and not _symbolic(args[0]):
            given: dict[Variable, Any] = {}
            formal = self.signature
            if len(formal) != 1:
                raise TypeError(f"CNTK Function expected {len(formal)} arguments, got 1")
            given = {formal[0]: args[0]}
        else:
            given = self.argument_map(*args, **kwargs)
        if given and not any(isinstance(value, (Variable, Function)) for value in given.values()):
            return self.eval(given)
        check_types(given)
        return self._clone(CloneMethod.share, given)

    def clone(
        self, method: CloneMethod | str, substitutions: dict[Any, Any] | None = None
    ) -> CompositeFunction:
        """A copy of the graph with variables replaced; see `CloneMethod` for its parameters.

        With other methods than share, inputs and placeholders that are not replaced are copied too.

        Raises ValueError for an unknown method, AttributeError for None and TypeError for anything else
        among the substitutions that is no variable or function.
        """
        method = CloneMethod(method)
        for side in (part for pair in (substitutions or {}).items() for part in pair):
            if side is None:
                raise AttributeError("clone: None in the substitutions; was a name not found?")
            if not isinstance(side, (Variable, Function)):
                raise TypeError(f"clone: a variable or function is expected, not {type(side)}")
        return self._clone(method, substitutions or {})

    def _clone(self, method: CloneMethod, substitutions: dict[Any, Any]) -> CompositeFunction:
        from .cloning import Cloner

        mapping = {to_variable(old): to_variable(new) for old, new in substitutions.items()}
        whole = mapping.get(self.outputs[0]) if len(self.outputs) == 1 else None
        if whole is not None and whole.owner is not None:
            return whole.owner.composite()  # the root itself is replaced
        return Cloner(method, mapping).clone(self.root_function).composite()

    def replace_placeholders(self, substitutions: dict[Any, Any]) -> Function:
        """Replace placeholders in place and infer the shapes that depend on them."""
        from .nodes import infer_graph

        mapping = {to_variable(old): to_variable(new) for old, new in substitutions.items()}
        for old in mapping:
            if not old.is_placeholder:
                raise ValueError(f"replace_placeholders: {old!r} is not a placeholder")
        for function in graph.producers_first([self.root_function]):
            function.substitute(mapping)
        infer_graph([self.root_function])
        graph.touch_graph()
        return self

    def replace_placeholder(self, substitution: Any) -> Function:
        placeholders = self.placeholders
        if len(placeholders) != 1:
            raise ValueError(
                f"replace_placeholder: the function has {len(placeholders)} placeholders, not one"
            )
        return self.replace_placeholders({placeholders[0]: substitution})

    def update_signature(self, *types: Any, **types_by_name: Any) -> None:
        """Give the arguments types (`Tensor[3]`, or a shape), in place; unknown dimensions are inferred."""
        from ..layers.typing import Tensor, VariableType

        names = dict(zip((v.name for v in self.arguments), types, strict=False))
        wanted = {**names, **types_by_name}
        replaced = {}
        for variable in self.arguments:
            kind = wanted.get(variable.name)
            if kind is None:
                continue
            if not isinstance(kind, VariableType):
                kind = Tensor[kind]
            if not variable.is_placeholder:
                raise TypeError(f"update_signature: the argument '{variable.name}' has a type already")
            replaced[variable] = kind.variable(variable.name)
        self.replace_placeholders(replaced)

    # Computation
    def eval(
        self, arguments: Any = None, outputs: Any = None, device: Any = None, as_numpy: bool = True
    ) -> Any:
        """The values of the outputs: an array (a list of arrays for sequences), or a dictionary of them when
        there are several."""
        from ..internal.evaluate import evaluate

        wanted = self.outputs if outputs is None else self._own(outputs)
        values = evaluate(self, arguments, wanted, as_numpy)
        return values[wanted[0]] if len(wanted) == 1 else values

    def forward(
        self,
        arguments: Any,
        outputs: Iterable[Any] | None = None,
        keep_for_backward: Any = None,
        device: Any = None,
        as_numpy: bool = True,
    ) -> tuple[Any, dict[Variable, Any]]:
        """(state for `backward`, values of the outputs).

        With outputs kept for backward the function runs as in training: dropout drops, batch normalisation
        uses and updates the statistics of the minibatch.
        """
        from ..internal.evaluate import run_forward

        wanted = self.outputs if outputs is None else self._own(outputs)
        kept = tuple(to_variable(v) for v in keep_for_backward or ())
        return run_forward(self, arguments, wanted, kept, as_numpy)

    def _own(self, outputs: Any) -> tuple[Variable, ...]:
        """The variables asked for, all of this function's graph.  Raises TypeError for other things,
        ValueError for variables of another graph."""
        wanted = []
        for part in _as_iterable(outputs):
            if not isinstance(part, (Variable, Function)):
                raise TypeError(f"outputs: a variable or function is expected, not {type(part)}")
            wanted.append(to_variable(part))
        known = set(self.outputs)
        if not known.issuperset(wanted):
            functions = graph.preorder(self.root_function)
            known.update(v for f in functions for v in (*f.results, *f.operands))
        for variable in wanted:
            if variable not in known:
                raise ValueError(f"The output '{variable!r}' is not part of the function {self!r}.")
        return tuple(wanted)

    def backward(self, state: Any, root_gradients: Any, variables: Any, as_numpy: bool = True) -> Any:
        """Gradients of the variables, from those of the outputs that `forward` kept."""
        from ..internal.evaluate import run_backward

        wanted = [to_variable(v) for v in _as_iterable(variables)]
        if not isinstance(root_gradients, dict):
            root_gradients = {self.output: root_gradients}
        roots = {to_variable(key): value for key, value in root_gradients.items()}
        return run_backward(state, roots, wanted, as_numpy)

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
        """Gradients of the output with root gradient 1, summed over the batch for parameters; with `outputs`
        also their values: (gradients, values)."""
        from ..internal.evaluate import gradients

        if wrt is None:
            wrt = [v for v in self.arguments if v.needs_gradient]
            if not wrt:
                raise ValueError("None of the function's arguments needs a gradient: name variables in wrt.")
        variables = [to_variable(v) for v in _as_iterable(wrt)]
        root = self.output if grad_root is None else to_variable(grad_root)
        extra = [] if outputs is None else [to_variable(v) for v in _as_iterable(outputs)]
        found, values = gradients(self, at, variables, root, extra, as_numpy)
        result = next(iter(found.values())) if len(found) == 1 else found
        if outputs is None:
            return result
        return result, (next(iter(values.values())) if len(values) == 1 else values)

    # Files
    def save(
        self,
        filename: str | os.PathLike[str],
        format: ModelFormat = ModelFormat.CNTKv2,
        use_external_files_to_store_parameters: bool = False,
    ) -> None:
        """Write the model file; missing directories are created."""
        from ..internal.modelfile import save_model

        if use_external_files_to_store_parameters:
            raise unavailable("saving models with external parameter files")
        if format.value == ModelFormat.ONNX.value:
            from ..internal.onnxfile import save_onnx

            save_onnx(self.root_function, filename)
            return
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

    @staticmethod
    def load_from_buffer(buffer: bytes, device: Any = None) -> Function:
        """Read a model from bytes."""
        return Function.load(bytes(buffer), device)

    @staticmethod
    def register_udf_deserialize_callback(op_name: str, callback: Any) -> None:
        """From now on `callback(inputs, name, state)` makes the user functions of that name in model files.

        Raises ValueError when another callback has the name.
        """
        from .user import register_udf_deserialize_callback

        register_udf_deserialize_callback(op_name, callback)

    def serialize(self) -> dict[str, Any]:
        """What a model file says of the root: its type, name, operation and attributes or state."""
        from ..internal.modelfile import describe

        return describe(self.root_function)

    # Text
    def __repr__(self) -> str:
        return full_text(self)

    def __str__(self) -> str:
        return signature_text(self)

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


def to_variable(value: Any, dtype: Any = np.float32) -> Variable:
    from . import tracing

    return tracing.to_variable(value, dtype)


def _as_iterable(values: Any) -> Iterable[Any]:
    return [values] if isinstance(values, (Variable, Function)) else values


def _flat(argument: Any) -> list[Any]:
    """A tuple or a function with several outputs stands for several arguments."""
    if isinstance(argument, tuple):
        return [part for item in argument for part in _flat(item)]
    if isinstance(argument, Function) and len(argument.outputs) > 1:
        return list(argument.outputs)
    return [argument]


def _symbolic(values: Any) -> bool:
    return any(isinstance(value, (Variable, Function)) for value in values)


def _axis_words(axis: AxisValue, rank: int) -> tuple[str, str, Any]:
    """An axis as attributes show it: ('ordered', 'static', column-major position in a tensor of the rank)."""
    order = "ordered" if axis.is_ordered else "unordered"
    if axis.static_axis_idx == DYNAMIC_AXIS:
        return order, "dynamic", axis.name
    if axis.static_axis_idx in (ALL_STATIC_AXES, ALL_AXES):
        return order, "static", axis.name
    index = axis.static_axis_idx
    return order, "static", index + rank if index < 0 else index


def _python_attribute(value: Any, rank: int) -> Any:
    if isinstance(value, Shape):
        return tuple(reversed(value))
    if isinstance(value, AxisValue):
        return _axis_words(value, rank)
    if isinstance(value, list):
        # Flags per axis are stored column-major, as shapes are.
        if value and all(isinstance(item, bool) for item in value):
            return list(reversed(value))
        return [_python_attribute(item, rank) for item in value]
    return value


__all__ = ["CloneMethod", "Function", "ModelFormat", "NamedOutput", "to_variable"]
