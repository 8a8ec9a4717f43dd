"""Functions whose computation users write in Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..axis import Axis
from ..core import NDArrayView, Value
from ..internal.kernels.node import Kernel, Node
from ..internal.kernels.node import padded_rows as _padded_rows
from ..internal.layout import Layout
from ..internal.opcodes import Op
from ..internal.uids import new_uid
from ..variables import Variable
from .nodes import CompositeFunction, PrimitiveFunction
from .tracing import to_variable

# What a shape and dynamic axes that are not known yet look like to infer_outputs.
_MARK = -77
_MARK_AXIS = Axis("not known yet")


class UserFunction(PrimitiveFunction):
    """The base of functions in Python; `user_function` puts an instance into the graph.

    Subclasses define `infer_outputs()`, which returns a variable (see `output_variable`) per output,
    `forward(arguments, device, outputs_to_retain)`, which returns (state, value), and `backward(state,
    root_gradients)`, which returns the input's gradient.  With several inputs `forward` gets a tuple, and
    `backward(state, root_gradients, variables)` puts the gradients into the dictionary `variables`.  With
    several outputs `forward(arguments, outputs, device, outputs_to_retain)` puts the values into `outputs`
    and returns the state, and root gradients are a dictionary.  Values are arrays; of sequences, lists of
    arrays; with as_numpy=False they are CNTK's values, whose shape and data are methods.

    A model file keeps the class's name and what `serialize()` returns, a dictionary; `deserialize(inputs,
    name, state)` makes the function again.
    """

    def __init__(self, inputs: Sequence[Any], as_numpy: bool = True, attributes: Any = None, name: str = ""):
        self.as_numpy = as_numpy
        self._own_attributes = dict(attributes or {})
        self._made: list[Variable] | None = None
        operands = [to_variable(v) for v in inputs]
        super().__init__(Op.CustomProxyOp, operands, {}, name, uid=new_uid("UserFunction"))

    # The results are inferred when they are first asked for: a subclass may set attributes that its
    # infer_outputs needs after it has called this class's constructor.
    @property
    def results(self) -> list[Variable]:
        if self._made is None:
            self._made = [
                Variable(
                    like._shape,
                    like._dtype,
                    like.needs_gradient,
                    dynamic_axes=like._dynamic_axes,
                    kind="Output",
                    uid=f"{self.uid}_Output_{i}",
                    name=like.name or self._name,
                    owner=self,
                    index=i,
                )
                for i, like in enumerate(self._declared())
            ]
            self.infer()
        return self._made

    @results.setter
    def results(self, value: Any) -> None:
        """The base class's constructor sets them; here they come later."""

    def _declared(self) -> Sequence[Variable]:
        try:
            return self.infer_outputs()
        except AttributeError as error:  # Python would take it for a missing attribute `results`
            raise RuntimeError(f"infer_outputs failed: AttributeError: {error}") from error

    def _new_results(self) -> list[Variable]:
        return []

    def infer(self) -> None:
        if self._made is not None:
            self._infer_into(self._made, self.operands)

    def _infer_into(self, results: Sequence[Variable], operands: Sequence[Variable]) -> None:
        """Types of the results, for these operands; what depends on an unknown operand is unknown."""
        marked = [(v, v._shape, v._dynamic_axes) for v in operands]
        before, self.operands = self.operands, list(operands)
        try:
            for v, shape, axes in marked:
                v._shape = (_MARK,) if shape is None else shape
                v._dynamic_axes = (_MARK_AXIS,) if axes is None else axes
            declared = self._declared()
        finally:
            self.operands = before
            for v, shape, axes in marked:
                v._shape, v._dynamic_axes = shape, axes
        for result, like in zip(results, declared, strict=True):
            result._dtype = like._dtype
            result.declares_gradient = like.needs_gradient  # type: ignore[attr-defined]
            result._shape = None if like._shape is None or _MARK in like._shape else like._shape
            result._dynamic_axes = None if _MARK_AXIS in like.dynamic_axes else like._dynamic_axes
            result.pending = any(v.pending for v in operands) and (
                result._shape is None or result._dynamic_axes is None
            )
            result.needs_gradient = like.needs_gradient and any(v.needs_gradient for v in operands)

    def standing_for(self, operands: list[Variable]) -> PrimitiveFunction:
        """A node on other operands that this object computes."""
        return SizedUserFunction(self, operands)

    def __getattr__(self, name: str) -> Any:
        if self.__dict__.get("_made") is None:  # nothing can be looked up in outputs that are not there yet
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return super().__getattr__(name)

    @property
    def attributes(self) -> dict[str, Any]:
        return self._own_attributes

    @property
    def arguments(self) -> tuple[Variable, ...]:
        """The operands that are data: inputs, placeholders and values of other functions."""
        return tuple(v for v in self.operands if v.is_input or v.is_placeholder or v.is_output)

    # What subclasses define
    def infer_outputs(self) -> Sequence[Variable]:
        raise NotImplementedError("infer_outputs has to be overwritten")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("forward has to be overwritten")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("backward has to be overwritten")

    def clone(self, cloned_inputs: Any, *rest: Any) -> Any:
        """The same function on other inputs.

        By default the class is called with them, one by one, and `name`: override it where the constructor
        wants something else.
        """
        if not isinstance(cloned_inputs, (list, tuple)):  # the clone of a Function: a method, substitutions
            return super().clone(cloned_inputs, *rest)
        kind: Any = type(self)
        return kind(*cloned_inputs, name=self.name)

    def serialize(self) -> Any:
        """The state for a model file: a dictionary of numbers, strings, arrays, lists; or None."""
        return None

    @staticmethod
    def deserialize(inputs: Sequence[Variable], name: str, state: Any) -> UserFunction:
        """The function of that state on the inputs, from a model file."""
        raise NotImplementedError("deserialize has to be overwritten")

    # Names
    @classmethod
    def _op_name(cls) -> str:
        return cls.__name__

    @property
    def op_name(self) -> str:
        return self._op_name()

    @property
    def display_name(self) -> str:
        return type(self).__name__

    @property
    def user(self) -> UserFunction:
        """What computes the node."""
        return self

    def with_operands(self, operands: list[Variable], attributes: dict[str, Any]) -> PrimitiveFunction:
        copy: PrimitiveFunction = self.clone(operands)
        return copy


class SizedUserFunction(PrimitiveFunction):
    """A user function in a copy of its graph, with operands of certain sizes."""

    def __init__(self, user: UserFunction, operands: list[Variable]):
        self.user = user
        super().__init__(Op.CustomProxyOp, operands, {}, user.name, uid=user.uid)

    def _new_results(self) -> list[Variable]:
        return [
            Variable(None, v._dtype, dynamic_axes=None, kind="Output", uid=v.uid, owner=self, index=i)
            for i, v in enumerate(self.user.results)
        ]

    def infer(self) -> None:
        self.user._infer_into(self.results, self.operands)


class StoredUserFunction(PrimitiveFunction):
    """What a model file tells of a user function: where it stands.  Its code is the script's, so it can give
    its place in the graph only, to a script that has the function and takes over the file's values."""

    def __init__(self, operands: Sequence[Variable], name: str, uid: str):
        super().__init__(Op.CustomProxyOp, operands, {}, name, uid=uid)

    def infer(self) -> None:
        """Nothing is known of its result."""


def user_function(user_func: Any) -> CompositeFunction:
    """A function of the graph that computes by a `UserFunction` (a function of the graph is passed on).

    Raises RuntimeError when its outputs cannot be inferred.
    """
    if not isinstance(user_func, UserFunction):
        composite: CompositeFunction = user_func.root_function.composite()
        return composite
    try:
        outputs = user_func.results
    except NotImplementedError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"{user_func.display_name}: infer_outputs failed: {type(error).__name__}: {error}"
        ) from error
    assert outputs is not None
    return user_func.composite()


# Model files

_makers: dict[str, Callable[..., Any]] = {}


def register_udf_deserialize_callback(op_name: str, callback: Callable[..., Any]) -> None:
    """From now on `callback(inputs, name, state)` makes the user functions of that name in model files."""
    if op_name in _makers and _makers[op_name] is not callback:
        raise ValueError(f"A callback for the user function '{op_name}' has already been registered.")
    _makers[op_name] = callback


def stored_form(function: UserFunction) -> dict[str, Any]:
    """What a model file keeps of a user function beside its name and inputs."""
    kind = type(function)
    form = {"class": kind.__name__, "module": kind.__module__, "op": function.op_name}
    state = function.serialize()
    return form if state is None else {**form, "state": state}


def from_stored(form: Mapping[str, Any], inputs: Sequence[Variable], name: str) -> UserFunction:
    """A user function of a model file, by a registered callback or by a class that is loaded already.

    No module is imported because a file names it.  Raises ValueError for an unknown class.
    """
    state = form.get("state", {})
    make = _makers.get(str(form.get("op")))
    if make is None:
        module, kind = str(form.get("module")), str(form.get("class"))
        found = getattr(sys.modules.get(module), kind, None)
        if not (isinstance(found, type) and issubclass(found, UserFunction)):
            raise ValueError(
                f"The user function '{kind}' of the module '{module}' is not loaded: import the module, or "
                "register a callback with Function.register_udf_deserialize_callback, before you load it."
            )
        make = found.deserialize
    result = make(list(inputs), name, state)
    if isinstance(result, CompositeFunction):
        result = result.root_function
    if not isinstance(result, UserFunction):
        raise ValueError(f"Deserializing the user function '{form.get('op')}' gave {type(result)}.")
    return result


# Computation


class _CallableShape(tuple[int, ...]):
    """A shape that can be called for, as that of a native value."""

    def __call__(self) -> tuple[int, ...]:
        return self


class _RawView(NDArrayView):
    """An array as a function with as_numpy=False gets it: its shape is a method."""

    @property
    def shape(self) -> tuple[int, ...]:
        return _CallableShape(self._array.shape)

    def as_shape(self, new_shape: Any) -> NDArrayView:
        return _RawView._of(super().as_shape(new_shape)._array, self._sparse)


class _RawValue(Value):
    """A value as a function with as_numpy=False gets it: its shape and data are methods."""

    @property
    def shape(self) -> tuple[int, ...]:
        return _CallableShape(super().shape)

    def data(self) -> NDArrayView:  # type: ignore[override]
        return _RawView._of(super().data._array, self._sparse)


def _given(value: torch.Tensor, layout: Layout | None, as_numpy: bool) -> Any:
    """A tensor as the Python function gets it."""
    value = value.detach()
    if not as_numpy:
        return _RawValue(value, None if layout is None else layout.lengths, plain=layout is None)
    array = value.cpu().contiguous().numpy().copy()
    return array if layout is None else [array[i, :n] for i, n in enumerate(layout.lengths)]


def _taken(value: Any, layout: Layout | None, dtype: np.dtype, zeros: bool = False) -> torch.Tensor:
    """What the Python function gave, as a tensor."""
    if isinstance(value, Value):
        return value.tensor.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    if isinstance(value, NDArrayView):
        return torch.from_numpy(np.array(value._array, dtype))
    return _padded_rows(value, layout, dtype, zeros)


class _Call(torch.autograd.Function):
    """One call of a user function's forward, and of its backward."""

    @staticmethod
    def forward(ctx: Any, user: UserFunction, layouts: list[Any], of_results: list[Any], *inputs: Any) -> Any:
        values = tuple(_given(x, layout, user.as_numpy) for x, layout in zip(inputs, layouts, strict=True))
        arguments = values[0] if len(values) == 1 else values
        like = inputs[0]
        if len(user.results) == 1:
            state, result = user.forward(arguments, None, set(user.results))
            results = [result]
        else:
            holder: dict[Variable, Any] = dict.fromkeys(user.results)
            state = user.forward(arguments, holder, None, set(user.results))
            results = [holder[v] for v in user.results]
        ctx.user, ctx.state, ctx.layouts, ctx.of_results = user, state, layouts, of_results
        ctx.shapes = [x.shape for x in inputs]
        tensors = tuple(
            _taken(value, layout, v._dtype).to(like.device)
            for value, layout, v in zip(results, of_results, user.results, strict=True)
        )
        declared = [getattr(v, "declares_gradient", True) for v in user.results]
        fixed = [t for t, differentiable in zip(tensors, declared, strict=True) if not differentiable]
        ctx.mark_non_differentiable(*fixed)
        return tensors if len(tensors) > 1 else tensors[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        user = ctx.user
        roots = {
            v: _given(g, layout, user.as_numpy)
            for v, g, layout in zip(user.results, gradients, ctx.of_results, strict=True)
        }
        root = next(iter(roots.values())) if len(roots) == 1 else roots
        inputs = user.operands
        needed = ctx.needs_input_grad[3:]
        wanted: dict[Variable, Any] = {v: None for v, need in zip(inputs, needed, strict=True) if need}
        if len(inputs) == 1:
            wanted[inputs[0]] = user.backward(ctx.state, root)
        else:
            user.backward(ctx.state, root, wanted)
        result: list[torch.Tensor | None] = []
        for v, layout, shape in zip(inputs, ctx.layouts, ctx.shapes, strict=True):
            gradient = wanted.get(v)
            if gradient is None:
                result.append(None)
                continue
            tensor = _taken(gradient, layout, v._dtype, zeros=True)
            result.append(tensor.reshape(shape).to(gradients[0].device))
        return (None, None, None, *result)


def build(node: Node) -> Kernel:
    """The kernel of a user function's node; layouts of its sequences follow its operands."""
    user = node.user
    with_layout = [lead == 2 for lead in node.leads]
    own_axes = [v.sequence_axis for v in node.operands]

    def run(*values: Any) -> Any:
        inputs = values[: len(with_layout)]
        rest = list(values[len(with_layout) :])
        layouts = [rest.pop(0) if wanted else None for wanted in with_layout]
        of_axis = dict(zip(own_axes, layouts, strict=True))
        of_results = [of_axis.get(v.sequence_axis) if v.has_sequence_axis() else None for v in node.results]
        call: Kernel = _Call.apply
        return call(user, layouts, of_results, *inputs)

    return run


__all__ = ["UserFunction", "build", "register_udf_deserialize_callback", "user_function"]
