"""Walks over a function's graph, and its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..internal.missing import module_getattr, unavailable
from ..ops.functions import Function
from ..variables import Variable


def depth_first_search(
    root: Any, visitor: Callable[[Any], bool], depth: int = 0, sort_by_distance: bool = False
) -> list[Any]:
    """Functions and variables below `root` (of blocks to a depth; -1 for all) that the visitor accepts, each
    once, consumers first; sorted by their distance from the root if wanted."""
    start = root.root_function if isinstance(root, Function) else root
    stack: list[tuple[Any, int, int]] = [(start, 0, 0)]  # node, depth of blocks, distance
    seen: dict[Any, int] = {}
    while stack:
        node, level, distance = stack.pop()
        if node in seen:
            continue
        seen[node] = distance
        following: list[Any] = []
        if isinstance(node, Variable):
            following = [node.owner] if node.owner is not None else []
        else:
            if node.body is not None and (depth == -1 or level < depth):
                stack.append((node.body.root_function, level + 1, distance + 1))
            following = [v if v.owner is None else v.owner for v in node.python_operands]
        stack.extend((item, level, distance + 1) for item in reversed(following) if item is not None)
    order = sorted(seen, key=lambda node: seen[node]) if sort_by_distance else list(seen)
    return [node for node in order if visitor(node)]


def find_all_with_name(node: Any, node_name: str, depth: int = 0) -> list[Any]:
    """Everything of that name below the node."""
    return depth_first_search(node, lambda item: item.name == node_name, depth)


def find_by_name(node: Any, node_name: str, depth: int = 0) -> Any:
    """The one thing of that name, or None.  Raises ValueError when there are several."""
    found = find_all_with_name(node, node_name, depth)
    if len(found) > 1:
        raise ValueError(
            f'found multiple functions matching "{node_name}". If that was expected call find_all_with_name'
        )
    return found[0] if found else None


def find_by_uid(node: Any, node_uid: str) -> Any:
    """The one thing with that uid, or None."""
    found = depth_first_search(node, lambda item: _uid(item) == node_uid, -1)
    return found[0] if found else None


def _uid(item: Any) -> str:
    return str(item.root_function.uid if isinstance(item, Function) else item.uid)


def get_node_outputs(node: Any, depth: int = 0) -> list[Variable]:
    """The outputs of all functions below the node."""
    functions = depth_first_search(node, lambda item: isinstance(item, Function), depth)
    return [output for function in functions for output in function.outputs]


def plot(root: Any, filename: str | None = None) -> str:
    """The graph as text, a line per function; with a file name, as a Graphviz `.dot` (or `.txt`) file."""
    functions = depth_first_search(root, lambda item: isinstance(item, Function))
    lines = []
    edges = []
    for function in functions:
        primitive = function.root_function
        operands = ", ".join(v.name or v.uid for v in primitive.python_operands)
        results = ", ".join(v.name or v.uid for v in primitive.results)
        lines.append(f"{function.root_function.op_name}({operands}) -> {results}")
        for operand in primitive.python_operands:
            source = operand.owner.uid if operand.owner is not None else operand.uid
            edges.append(f'  "{source}" -> "{primitive.uid}";')
    text = "\n".join(reversed(lines))  # producers first, as in CNTK
    if filename is not None:
        if filename.endswith(".dot"):
            content = "digraph {\n" + "\n".join(edges) + "\n}\n"
        elif filename.endswith(".txt"):
            content = text + "\n"
        else:
            raise unavailable("logging.graph.plot to an image (write a .dot file and run Graphviz on it)")
        with open(filename, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(content)
    return text


__all__ = [
    "depth_first_search", "find_all_with_name", "find_by_name", "find_by_uid", "get_node_outputs", "plot",
]  # fmt: skip

__getattr__ = module_getattr("cntk.logging.graph")
