"""A model in single steps: every node tells that it is reached, and waits for a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..internal import graph
from ..internal.missing import module_getattr
from ..internal.opcodes import Op
from ..ops.base import CloneMethod
from ..ops.cloning import Cloner
from ..ops.construction import output_variable
from ..ops.functions import Function, UserFunction, user_function
from ..ops.graph_ops import combine
from ..variables import Variable

DEBUG_USAGE = """\
    Commands:
        n            go on to the next node
        n <number>   go on by that many nodes
        u f          go on until the forward pass
        u b          go on until the backward pass
        u <name>     go on until the node of that name
        u <lambda>   go on until the expression is true, for example
                         u lambda arg, node: node.op_name == 'Times'
                         u lambda arg, node: np.var(arg) > 1
        c            go on until the end
        p            print the input (forward) or the root gradients (backward)
        d            a pdb shell
        q            quit
"""
_TITLES = {"f": "=" * 35 + " forward  " + "=" * 35, "b": "=" * 35 + " backward " + "=" * 35}


class _State:
    """What the nodes of one debugged model share: the last pass, and what may go on without a question."""

    def __init__(self, names: set[str]):
        self.names = names
        self.last_pass = ""
        # Whether to go on at (value, node, pass) without asking; None: ask.
        self.going: Callable[[Any, Any, str], bool] | None = None


class _DebugNode(UserFunction):
    """Passes its input on, and stops there."""

    PROMPT_FORWARD = "[CNTK forward] >>> "
    PROMPT_BACKWARD = "[CNTK backward] >>> "

    def __init__(
        self, after: Any, operand: Variable, state: _State, in_stream: Any, out_stream: Any, leave: Any
    ):
        super().__init__([operand], as_numpy=True, name=f"Debug_{after.uid}")
        self.after = after
        self._state = state
        self._in, self._out, self._leave = in_stream, out_stream, leave

    def clone(self, cloned_inputs: Any) -> _DebugNode:  # type: ignore[override]
        return _DebugNode(self.after, cloned_inputs[0], self._state, self._in, self._out, self._leave)

    def infer_outputs(self) -> list[Variable]:
        operand = self.inputs[0]
        return [output_variable(operand.shape, operand.dtype, operand.dynamic_axes)]

    def forward(self, argument: Any, device: Any = None, outputs_to_retain: Any = None) -> Any:  # type: ignore[override]
        self._stop(argument, "f")
        return None, argument

    def backward(self, state: Any, root_gradients: Any) -> Any:  # type: ignore[override]
        self._stop(root_gradients, "b")
        return root_gradients

    def _say(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _stop(self, value: Any, which: str) -> None:
        state = self._state
        if which != state.last_pass:
            self._say(f"\n{_TITLES[which]}\n")
        self._say(f"\n{self.after} with uid '{self.after.uid}'\n")
        state.last_pass = which
        while state.going is None or not state.going(value, self.after, which):
            state.going = None
            prompt = self.PROMPT_FORWARD if which == "f" else self.PROMPT_BACKWARD
            self._say(prompt)
            if self._obey(self._in.readline().strip(), value):
                return

    def _obey(self, command: str, value: Any) -> bool:
        """Whether the node is to be left."""
        state = self._state
        word, _, rest = command.partition(" ")
        rest = rest.strip()
        if word == "n" and (not rest or rest.isdigit()):
            left = [int(rest or 1) - 1]

            def some(value: Any, node: Any, which: str) -> bool:
                left[0] -= 1
                return left[0] >= 0

            state.going = some if left[0] else None
            return True
        if command == "c":
            state.going = lambda value, node, which: True
            return True
        if word == "u" and rest:
            until = self._until(rest)
            if until is not None:
                state.going = lambda value, node, which: not until(value, node, which)
                return True
            self._say(f'Your model does not contain a node with name "{rest}"\n')
            return False
        if command == "p":
            self._say(f"{value}\n")
            return False
        if command == "d":
            breakpoint()  # noqa: T100  (what the command is for)
            return True
        if command == "q":
            self._leave(0)
            return True
        if command:
            self._say(DEBUG_USAGE)
        return False

    def _until(self, text: str) -> Callable[[Any, Any, str], bool] | None:
        if text.startswith("lambda"):
            try:
                condition = eval(text, {"np": np})
            except SyntaxError:
                return None
            return lambda value, node, which: bool(condition(value, node))
        if text in self._state.names:
            return lambda value, node, which: node.name == text
        for which_wanted, word in (("f", "forward"), ("b", "backward")):
            if word.startswith(text):
                return lambda value, node, which: which == which_wanted
        return None


def debug_model(
    model: Function, in_stream: Any = sys.stdin, out_stream: Any = sys.stdout, exit_func: Any = sys.exit
) -> Function:
    """A copy of the model (it shares the parameters) that stops at every node when it is computed.

    Commands are read from `in_stream`, a line each; `exit_func` is called to quit.  Raises ValueError for a
    recurrence, whose nodes are not computed one after the other.
    """
    root = model.root_function
    functions = graph.producers_first([root])
    leaves = graph.leaves(root)
    named: list[Any] = [*functions, *leaves]
    state = _State({item.name for item in named if item.name})
    cloner = Cloner(CloneMethod.share, {})

    def stopping(after: Any, value: Variable) -> Variable:
        node = _DebugNode(after, value, state, in_stream, out_stream, exit_func)
        return user_function(node).output

    replaced = {leaf: stopping(leaf, leaf) for leaf in leaves}
    last: Function = model
    for function in functions:
        if any(v not in replaced for v in function.operands):
            raise ValueError("cannot debug this graph")
        last = cloner.rebuilt(function, [replaced[v] for v in function.operands]).composite()
        if function.op is Op.Combine:
            continue  # has no values of its own
        for old, new in zip(function.results, last.outputs, strict=True):
            replaced[old] = stopping(function, new)
    results = [replaced[v] for v in model.outputs]
    made: Function = combine(results)
    owner = results[0].owner
    return owner.composite() if len(results) == 1 and owner is not None else made


__getattr__ = module_getattr("cntk.debugging.debug")
