"""`events` and `why`: what happened to an object, and why a job waits."""

from typing import Any

from .management import ask

_ROOT = "/providers/OpenBatchAI"


def list_events(name: str, top: int = 1000, all_: bool = False, home: str | None = None) -> Any:
    """The story of a job, cluster, node or run, oldest first."""
    query = {"object": name, "$top": str(top)} | ({"all": "true"} if all_ else {})
    return ask(home, "GET", f"{_ROOT}/events", query=query)["value"]


def why(name: str, home: str | None = None) -> Any:
    """Why a job waits."""
    return ask(home, "GET", f"{_ROOT}/waiting", query={"job": name})
