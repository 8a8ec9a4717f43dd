"""Progress reports."""

from __future__ import annotations

from enum import IntEnum, unique

from ..internal.missing import module_getattr
from . import graph as graph
from .progress_print import ProgressPrinter, log_number_of_parameters
from .progress_writer import ProgressWriter
from .tensorboard import TensorBoardProgressWriter, TrainingSummaryProgressCallback


@unique
class TraceLevel(IntEnum):
    """How much is said on stderr."""

    Error = 0
    Warning = 1
    Info = 2


class _Level:
    value = TraceLevel.Warning


def set_trace_level(value: TraceLevel | int) -> None:
    """Sets what `get_trace_level` returns, the default trace level of new minibatch sources."""
    _Level.value = TraceLevel(value)


def get_trace_level() -> TraceLevel:
    return _Level.value


__all__ = [
    "ProgressPrinter",
    "ProgressWriter",
    "TensorBoardProgressWriter",
    "TraceLevel",
    "TrainingSummaryProgressCallback",
    "get_trace_level",
    "log_number_of_parameters",
    "set_trace_level",
]

__getattr__ = module_getattr("cntk.logging")
