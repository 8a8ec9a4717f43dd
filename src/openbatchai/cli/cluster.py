"""`cluster`: what Azure's contract has no place for."""

import math
from typing import Any

from knack.util import CLIError

from .management import ask

_PATH = "/providers/OpenBatchAI/idleTime"
_DEFAULT = "default"


def idle_time(words: list[str], home: str | None = None) -> Any:
    """How long an autoscale cluster keeps an idle node."""
    if len(words) > 2:
        raise CLIError("Give a cluster, and at most one number of seconds.")
    query = {"cluster": words[0]}
    if len(words) == 1:
        return ask(home, "GET", _PATH, query=query)
    return ask(home, "PUT", _PATH, query=query, body={"idleTimeSeconds": _seconds(words[1])})


def _seconds(text: str) -> float | None:
    if text == _DEFAULT:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise CLIError(f"'{text}' is neither a number of seconds nor '{_DEFAULT}'.")
    return seconds
