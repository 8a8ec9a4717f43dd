"""What the layers share, and the step functions of recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..default_options import default_override_or, get_default_override
from ..initializer import glorot_uniform
from ..internal.missing import module_getattr
from ..ops import alias, combine, element_times, sigmoid, slice, softplus, tanh, times
from ..ops.functions import BlockFunction, Function
from ..ops.tracing import trace
from ..variables import INFERRED, Constant, Parameter, Variable, is_scalar, sanitize_shape

_INIT = default_override_or(glorot_uniform())
_INIT_BIAS = default_override_or(0)
_TANH = default_override_or(tanh)
_SIGMOID = default_override_or(sigmoid)
_OFF = default_override_or(False)
_ON = default_override_or(True)


def UntestedBranchError(name: str) -> None:
    raise NotImplementedError(f"Untested code branch: {name}")


@trace
def identity(keep: Any) -> Any:
    """The function that returns its argument."""
    return combine([keep])


def as_activation(activation: Any) -> Any:
    """`activation=None` is the identity."""
    return identity if activation is None else activation


def with_name(function: Any, name: str) -> Any:
    """The function under a name; a plain Python function without one stays what it is."""
    if not name:
        return function
    if not isinstance(function, Function):
        function = trace(function)
    return alias(function, name=name)


class _Declared(Variable):
    """A placeholder that is resolved to the value it stood for."""

    def resolve_to(self, variable: Any) -> None:
        value = variable.output if isinstance(variable, Function) else variable
        assert value.owner is not None
        value.owner.replace_placeholders({self: value})


def ForwardDeclaration(name: str = "forward_declaration") -> _Declared:
    """A value to use before it is defined; `resolve_to` closes the loop."""
    return _Declared(None, dynamic_axes=None, name=name, kind="Placeholder")


def initial_state_or_default(state: Any) -> Any:
    """The initial state of a recurrence; numbers become constants."""
    if isinstance(state, tuple):
        return tuple(initial_state_or_default(part) for part in state)
    if state is None:
        state = 0
    if is_scalar(state):
        number = Constant(float(state), (1,))
        number.literal = True
        return number
    return state


def Stabilizer(steepness: float = 4, enable_self_stabilization: Any = _ON, name: str = "") -> Function:
    """The input times a positive learned number: softplus(alpha, steepness), 1 at the start."""
    if not get_default_override(Stabilizer, enable_self_stabilization=enable_self_stabilization):
        return identity
    start = float(np.log(np.exp(steepness) - 1) / steepness)
    alpha = Parameter((), init=start, name="alpha")
    factor = softplus(alpha, steepness=steepness)

    @BlockFunction("Stabilizer", name)
    def stabilize(x: Any) -> Any:
        return element_times(factor, x)

    return stabilize


class _Cell:
    """The parameters of a recurrent step: gates stacked along the last axis."""

    def __init__(
        self, kind: Any, gates: int, hidden_gates: int, shape: Any, cell_shape: Any, options: dict[str, Any]
    ):
        self.activation = as_activation(get_default_override(kind, activation=options["activation"]))
        peepholes = options.get("use_peepholes", False)
        self.peepholes = bool(get_default_override(kind, use_peepholes=peepholes))
        init = get_default_override(kind, init=options["init"])
        init_bias = get_default_override(kind, init_bias=options["init_bias"])
        stabilize = get_default_override(kind, enable_self_stabilization=options["enable_self_stabilization"])
        output = sanitize_shape(shape)
        cell = output if cell_shape is None else sanitize_shape(cell_shape)
        if len(output) != 1 or len(cell) != 1:
            raise ValueError(f"{kind.__name__}: shape and cell_shape must be vectors (rank-1 tensors)")
        self.width = cell[0]
        self.b = Parameter((cell[0] * gates,), init=init_bias, name="b")
        self.W = Parameter((INFERRED, cell[0] * gates), init=init, name="W")
        self.H = Parameter((*output, cell[0] * hidden_gates), init=init, name="H")
        self.P = Parameter((*cell, *output), init=init, name="P") if cell_shape is not None else None
        self.init, self.cell, self.output = init, cell, output
        self.stabilize = stabilize

    def stabilizer(self) -> Function:
        return Stabilizer(enable_self_stabilization=self.stabilize)

    def gate(self, stacked: Any, index: int) -> Any:
        return slice(stacked, -1, index * self.width, (index + 1) * self.width)

    def projected(self, stabilizer: Any, hidden: Any) -> Any:
        return hidden if self.P is None else times(stabilizer(hidden), self.P)


def LSTM(
    shape: Any,
    cell_shape: Any = None,
    activation: Any = _TANH,
    use_peepholes: Any = _OFF,
    init: Any = _INIT,
    init_bias: Any = _INIT_BIAS,
    enable_self_stabilization: Any = _OFF,
    name: str = "",
) -> Function:
    """A step of long short-term memory: (h, c, x) -> (h, c).

    The stacked gates are, in this order: input, candidate, forget, output.
    """
    options = {
        "activation": activation, "use_peepholes": use_peepholes, "init": init, "init_bias": init_bias,
        "enable_self_stabilization": enable_self_stabilization,
    }  # fmt: skip
    cell = _Cell(LSTM, 4, 4, shape, cell_shape, options)
    Ci, Cf, Co = (
        Parameter(cell.cell, init=cell.init, name=gate) if cell.peepholes else None
        for gate in ("Ci", "Cf", "Co")
    )
    of_h, of_c, of_new_c, of_result = (cell.stabilizer() for _ in range(4))

    def peep(gate: Any, weight: Parameter | None, value: Any) -> Any:
        return gate if weight is None else gate + element_times(weight, value)

    @BlockFunction("LSTM", name)
    def lstm(dh: Any, dc: Any, x: Any) -> Any:
        before = of_h(dh)
        memory = of_c(dc)
        gates = cell.b + times(x, cell.W) + times(before, cell.H)
        write = sigmoid(peep(cell.gate(gates, 0), Ci, memory))
        keep = sigmoid(peep(cell.gate(gates, 2), Cf, memory))
        c = keep * dc + write * cell.activation(cell.gate(gates, 1))
        show = sigmoid(peep(cell.gate(gates, 3), Co, of_new_c(c)))
        h = cell.projected(of_result, show * cell.activation(c))
        return h, c

    return lstm


def GRU(
    shape: Any,
    cell_shape: Any = None,
    activation: Any = _TANH,
    init: Any = _INIT,
    init_bias: Any = _INIT_BIAS,
    enable_self_stabilization: Any = _OFF,
    name: str = "",
) -> Function:
    """A step of a gated recurrent unit: (h, x) -> h; the stacked gates are update, reset, candidate."""
    options = {
        "activation": activation, "init": init, "init_bias": init_bias,
        "enable_self_stabilization": enable_self_stabilization,
    }  # fmt: skip
    cell = _Cell(GRU, 3, 2, shape, cell_shape, options)
    H1 = Parameter((*cell.output, *cell.cell), init=cell.init, name="H1")
    of_h, of_result = cell.stabilizer(), cell.stabilizer()

    @BlockFunction("GRU", name)
    def gru(dh: Any, x: Any) -> Any:
        before = of_h(dh)
        of_input = cell.b + times(x, cell.W)
        of_hidden = times(before, cell.H)
        update = sigmoid(cell.gate(of_input, 0) + cell.gate(of_hidden, 0))
        reset = sigmoid(cell.gate(of_input, 1) + cell.gate(of_hidden, 1))
        candidate = cell.activation(cell.gate(of_input, 2) + times(before * reset, H1))
        h = (1 - update) * candidate + update * before
        return cell.projected(of_result, h)

    return gru


def RNNStep(
    shape: Any,
    cell_shape: Any = None,
    activation: Any = _SIGMOID,
    init: Any = _INIT,
    init_bias: Any = _INIT_BIAS,
    enable_self_stabilization: Any = _OFF,
    name: str = "",
) -> Function:
    """A step of a plain recurrent network: (h, x) -> activation(x W + h H + b)."""
    options = {
        "activation": activation, "init": init, "init_bias": init_bias,
        "enable_self_stabilization": enable_self_stabilization,
    }  # fmt: skip
    cell = _Cell(RNNStep, 1, 1, shape, cell_shape, options)
    of_h, of_result = cell.stabilizer(), cell.stabilizer()

    @BlockFunction("RNNStep", name)
    def rnn_step(dh: Any, x: Any) -> Any:
        h = cell.activation(times(x, cell.W) + times(of_h(dh), cell.H) + cell.b)
        return cell.projected(of_result, h)

    return rnn_step


def RNNUnit(
    shape: Any,
    cell_shape: Any = None,
    activation: Any = _SIGMOID,
    init: Any = _INIT,
    init_bias: Any = _INIT_BIAS,
    enable_self_stabilization: Any = _OFF,
    name: str = "",
) -> Function:
    """The old name of `RNNStep`."""
    return RNNStep(shape, cell_shape, activation, init, init_bias, enable_self_stabilization, name)


__all__ = [
    "GRU", "LSTM", "ForwardDeclaration", "RNNStep", "RNNUnit", "Stabilizer", "UntestedBranchError",
    "identity",
]  # fmt: skip

__getattr__ = module_getattr("cntk.layers.blocks")
