"""Walks over the Function graph.  All are iterative: a deep network must not meet Python's recursion
limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..variables import Variable

if TYPE_CHECKING:
    from ..ops.functions import PrimitiveFunction


class _Version:
    value = 0


def graph_version() -> int:
    """Grows whenever a graph is changed in place, so that compiled programs of older graphs are not
    reused."""
    return _Version.value


def touch_graph() -> None:
    _Version.value += 1


def producers_first(roots: Iterable[PrimitiveFunction]) -> list[PrimitiveFunction]:
    """The functions below `roots` (blocks closed), every producer before its consumers."""
    order: list[PrimitiveFunction] = []
    state: dict[PrimitiveFunction, bool] = {}  # False: entered, True: done
    stack = list(reversed(list(roots)))
    while stack:
        function = stack[-1]
        if function in state:
            stack.pop()
            if not state[function]:
                state[function] = True
                order.append(function)
            continue
        state[function] = False
        owners = [variable.owner for variable in function.operands if variable.is_output]
        stack.extend(owner for owner in reversed(owners) if owner is not None and owner not in state)
    return order


def leaves(root: PrimitiveFunction, python_order: bool = False) -> list[Variable]:
    """Inputs of the graph below `root`, depth first: products with the parameter first (as stored, the order
    of `parameters`) or with operands left to right as in Python (the order of `arguments`)."""

    def operands(function: PrimitiveFunction) -> Iterator[Variable]:
        return iter(function.python_operands if python_order else function.operands)

    found: dict[Variable, None] = {}
    visited = {root}
    stack = [operands(root)]
    while stack:
        variable = next(stack[-1], None)
        if variable is None:
            stack.pop()
        elif variable.owner is None:
            found.setdefault(variable)
        elif variable.owner not in visited:
            visited.add(variable.owner)
            stack.append(operands(variable.owner))
    return list(found)


def preorder(root: PrimitiveFunction) -> list[PrimitiveFunction]:
    """Every function, consumers first, a block before its body and its body before its arguments."""
    order: dict[PrimitiveFunction, None] = {}
    stack = [root]
    while stack:
        function = stack.pop()
        if function in order:
            continue
        order[function] = None
        following = [function.body.root] if function.body is not None else []
        following.extend(v.owner for v in function.operands if v.owner is not None)
        stack.extend(reversed(following))
    return list(order)


def awaits_shapes(functions: Iterable[PrimitiveFunction]) -> bool:
    """Whether a placeholder among the operands has no shape yet."""
    return any(v.is_placeholder and v._shape is None for f in functions for v in f.operands)
