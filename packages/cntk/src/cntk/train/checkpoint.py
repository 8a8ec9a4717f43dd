"""A trainer's checkpoint: a model file and, beside it, `.ckp` with the state of learners and readers.

The two files change together: a process killed at any instant leaves the old pair or the new one.  Both new
files are written in full under names of their own; moving the model to its place is the decision, and what is
left to do after it (moving the state) is done by whoever looks at the checkpoint next.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..internal import proto
from ..internal.proto import Float, SizeT


def _state_file(path: Path) -> Path:
    return path.with_name(path.name + ".ckp")


def _waiting(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle(path: Path) -> None:
    """Finish what an interrupted `write_pair` had decided."""
    state = _waiting(_state_file(path))
    if state.exists() and not _waiting(path).exists():
        state.replace(_state_file(path))


def write_pair(filename: str | os.PathLike[str], model: bytes, state: dict[str, Any]) -> None:
    """Write model and state.  Raises RuntimeError when the place cannot be written."""
    path = Path(filename)
    waiting, waiting_state = _waiting(path), _waiting(_state_file(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RuntimeError(f"mkdir: error creating intermediate directory {path.parent}") from error
    try:
        settle(path)
        _write(waiting, model)
        unfinished = waiting_state.with_name(waiting_state.name + ".tmp")
        _write(unfinished, proto.dump(state))
        unfinished.replace(waiting_state)
        waiting.replace(path)
        waiting_state.replace(_state_file(path))
    except OSError as error:
        raise RuntimeError(f"Cannot open file '{filename}' for writing.") from error


def read_state(filename: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary of `filename`.ckp.  Raises RuntimeError when it is missing or damaged."""
    path = Path(filename)
    settle(path)
    file = _state_file(path)
    if not file.is_file():
        raise RuntimeError(f"Cannot open file '{file}' for reading.")
    try:
        state = proto.load(file.read_bytes())
    except proto.ParseError as error:
        raise RuntimeError("Failed to parse Dictionary from the input stream.") from error
    return state


def to_dictionary_value(value: Any) -> Any:
    """What a Python value of the user's state becomes in the file.

    Raises ValueError for a type that the format does not have.
    """
    if value is None or isinstance(value, (bool, str, SizeT, Float)):
        return value
    if isinstance(value, (int, np.integer)):
        number = int(value)
        if -(2**31) <= number < 2**31:
            return number
        if 0 <= number < 2**64:
            return SizeT(number)
        raise ValueError(f"cannot store the number {number}: it does not fit 64 bits")
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("cannot store a dictionary whose keys are not strings")
        return {key: to_dictionary_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dictionary_value(item) for item in value]
    raise ValueError(f"cannot convert instance of type {type(value)} to DictionaryValue")


def from_dictionary_value(value: Any) -> Any:
    """The plain Python value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, SizeT):
        return int(value)
    if isinstance(value, Float):
        return float(value)
    if isinstance(value, dict):
        return {key: from_dictionary_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_dictionary_value(item) for item in value]
    return value
