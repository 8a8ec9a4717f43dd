"""`node`: the nodes of a cluster, and taking one away."""

from typing import Any

from knack.util import CLIError

from .management import ask

_ROOT = "/providers/OpenBatchAI"


def list_nodes(cluster: str, home: str | None = None) -> Any:
    """The nodes of a cluster."""
    return ask(home, "GET", f"{_ROOT}/nodes", query={"cluster": cluster})["value"]


def preempt_node(names: list[str], home: str | None = None) -> Any:
    """Take a low-priority node away: its cluster, and which one."""
    if len(names) > 2:
        raise CLIError("Give a cluster, and at most one node.")
    query = dict(zip(("cluster", "node"), names, strict=False))
    return ask(home, "POST", f"{_ROOT}/preempt", query=query)
