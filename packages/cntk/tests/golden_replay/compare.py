"""What "the same" means: numbers within the corpus's tolerances, text with generated names masked."""

from __future__ import annotations

import re
from typing import Any

import numpy as np


class Different(AssertionError):
    """The package does not do what CNTK did."""


def same(what: str, mine: Any, recorded: Any) -> None:
    if mine != recorded:
        raise Different(f"{what}: {mine!r} instead of {recorded!r}")


def masked(text: str) -> str:
    """Generated names without their process-wide numbers."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"\d+_Output_\d+|(?<=[A-Za-z])\d+", "N", text)


def same_text(what: str, mine: str, recorded: str) -> None:
    same(what, masked(mine), masked(recorded))


def tolerance_of(dtype: Any) -> float:
    return 1e-10 if np.dtype(dtype) == np.float64 else 1e-5


def close(what: str, mine: Any, recorded: Any, tolerance: float | None = None) -> None:
    """Equal shape and values, relative to 1 + |value|; lists are compared item by item."""
    if isinstance(recorded, list):
        same(f"{what}: number of sequences", len(mine), len(recorded))
        for i, (a, b) in enumerate(zip(mine, recorded, strict=True)):
            close(f"{what}[{i}]", a, b, tolerance)
        return
    if hasattr(mine, "todense"):
        mine = np.asarray(mine.todense())
    array = np.asarray(mine)
    same(f"{what}: shape", array.shape, recorded.shape)
    limit = tolerance_of(recorded.dtype) if tolerance is None else tolerance
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(array - recorded) <= limit * (1 + np.abs(recorded)))
    wrong &= ~(np.isnan(array) & np.isnan(recorded)) & ~(array == recorded)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise Different(
            f"{what}: {int(wrong.sum())} of {array.size} values differ, first at {first}: "
            f"{array[first]!r} instead of {recorded[first]!r}"
        )


def same_error(error: Exception, recorded: dict[str, str], *, text: bool = True) -> None:
    """The exception's type and, unless only the type matters, its first line."""
    line = str(error).split("\n")[0]
    same("type of the error", f"{type(error).__name__} ({line})", f"{recorded['type']} ({line})")
    if text:
        same("message", masked(line), masked(recorded["first_line"]))
