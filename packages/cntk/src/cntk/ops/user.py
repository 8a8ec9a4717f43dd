"""Functions whose computation users write in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..internal.kernels.node import Kernel, Node
from ..internal.kernels.node import padded_rows as _padded_rows
from ..internal.layout import Layout
from ..internal.missing import unavailable
from ..internal.opcodes import Op
from ..internal.uids import new_uid
from ..variables import Variable
from .nodes import CompositeFunction, PrimitiveFunction
from .tracing import to_variable


class UserFunction:
    """The base of functions in Python; `user_function` puts an instance into the graph.

    Subclasses define `infer_outputs()`, which returns a variable (see `output_variable`) per output,
    `forward(arguments, device, outputs_to_retain)`, which returns (state, value), and `backward(state,
    root_gradients)`, which returns the input's gradient.  With several inputs `forward` gets a tuple, and
    `backward(state, root_gradients, variables)` puts the gradients into the dictionary `variables`.  With
    several outputs `forward(arguments, outputs, device, outputs_to_retain)` puts the values into `outputs`
    and returns the state, and root gradients are a dictionary.  Values are arrays; of sequences, lists of
    arrays.
    """

    def __init__(self, inputs: Sequence[Any], as_numpy: bool = True, attributes: Any = None, name: str = ""):
        if not as_numpy:
            raise unavailable("a UserFunction with as_numpy=False")
        self._inputs = tuple(to_variable(v) for v in inputs)
        self._outputs: tuple[Variable, ...] = ()
        self.attributes = dict(attributes or {})
        self.name = name

    @property
    def inputs(self) -> tuple[Variable, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[Variable, ...]:
        return self._outputs

    def infer_outputs(self) -> Sequence[Variable]:
        raise NotImplementedError("infer_outputs has to be overwritten")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("forward has to be overwritten")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("backward has to be overwritten")

    def clone(self, cloned_inputs: Sequence[Variable]) -> UserFunction:
        """The same function on other inputs; needed where a model with it is applied or cloned."""
        raise NotImplementedError("clone has to be overwritten")


class StoredUserFunction(PrimitiveFunction):
    """What a model file tells of a user function: where it stands.  Its code is the script's, so it can give
    its place in the graph only, to a script that has the function and takes over the file's values."""

    def __init__(self, operands: Sequence[Variable], name: str, uid: str):
        super().__init__(Op.CustomProxyOp, operands, {}, name, uid=uid)

    def infer(self) -> None:
        """Nothing is known of its result."""


class UserPrimitive(PrimitiveFunction):
    """The node of a user function."""

    def __init__(self, user: UserFunction):
        self.user = user
        super().__init__(Op.CustomProxyOp, user.inputs, {}, user.name, uid=new_uid("UserFunction"))

    def _new_results(self) -> list[Variable]:
        declared = self.user.infer_outputs()
        results = []
        for i, like in enumerate(declared):
            results.append(
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
            )
        self.user._outputs = tuple(results)
        return results

    def infer(self) -> None:
        for result, like in zip(self.results, self.user.infer_outputs(), strict=True):
            result._shape, result._dynamic_axes, result._dtype = like._shape, like._dynamic_axes, like._dtype
            result.needs_gradient = any(v.needs_gradient for v in self.operands)

    @property
    def op_name(self) -> str:
        return type(self.user).__name__

    @property
    def display_name(self) -> str:
        return type(self.user).__name__

    def with_operands(self, operands: list[Variable], attributes: dict[str, Any]) -> PrimitiveFunction:
        return UserPrimitive(self.user.clone(operands))

    def substitute(self, mapping: dict[Variable, Variable]) -> None:
        super().substitute(mapping)
        self.user._inputs = tuple(self.operands)


def user_function(user_func: UserFunction) -> CompositeFunction:
    """A function of the graph that computes by a `UserFunction`."""
    return UserPrimitive(user_func).composite()


def _plain(value: torch.Tensor, layout: Layout | None) -> Any:
    array = value.detach().cpu().contiguous().numpy().copy()
    return array if layout is None else [array[i, :n] for i, n in enumerate(layout.lengths)]


class _Call(torch.autograd.Function):
    """One call of a user function's forward, and of its backward."""

    @staticmethod
    def forward(ctx: Any, user: UserFunction, layouts: list[Any], of_results: list[Any], *inputs: Any) -> Any:
        values = tuple(_plain(x, layout) for x, layout in zip(inputs, layouts, strict=True))
        arguments = values[0] if len(values) == 1 else values
        like = inputs[0]
        if len(user.outputs) == 1:
            state, result = user.forward(arguments, None, set(user.outputs))
            results = [result]
        else:
            holder: dict[Variable, Any] = dict.fromkeys(user.outputs)
            state = user.forward(arguments, holder, None, set(user.outputs))
            results = [holder[v] for v in user.outputs]
        ctx.user, ctx.state, ctx.layouts, ctx.of_results = user, state, layouts, of_results
        ctx.shapes = [x.shape for x in inputs]
        tensors = tuple(
            _padded_rows(value, layout, v._dtype).to(like.device)
            for value, layout, v in zip(results, of_results, user.outputs, strict=True)
        )
        return tensors if len(tensors) > 1 else tensors[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        user = ctx.user
        roots = {
            v: _plain(g, layout) for v, g, layout in zip(user.outputs, gradients, ctx.of_results, strict=True)
        }
        root = next(iter(roots.values())) if len(roots) == 1 else roots
        if len(user.inputs) == 1:
            found = [user.backward(ctx.state, root)]
        else:
            holder: dict[Variable, Any] = dict.fromkeys(user.inputs)
            user.backward(ctx.state, root, holder)
            found = [holder[v] for v in user.inputs]
        result: list[torch.Tensor | None] = []
        for gradient, layout, shape, v in zip(found, ctx.layouts, ctx.shapes, user.inputs, strict=True):
            if gradient is None:
                result.append(None)
                continue
            tensor = _padded_rows(gradient, layout, v._dtype, zeros=True)
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


__all__ = ["UserFunction", "build", "user_function"]
