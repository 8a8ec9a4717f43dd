"""Training parameter schedules: a value per position, with the minibatch size it was meant for."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from enum import Enum, unique
from typing import Any

import numpy as np

from ..internal.checks import required, typed
from ..internal.proto import SizeT
from ..variables import is_scalar

_VERSION = 2
_TYPE = "TrainingParameterSchedule"

IGNORE = 0  # "the values are for whatever size the minibatch has"


@unique
class UnitType(Enum):
    """What a legacy learning rate is per."""

    sample = "sample"
    minibatch = "minibatch"


class TrainingParameterSchedule:
    """`values[i]` holds from position `starts[i]`; the last one for ever.

    Positions count samples, or finished sweeps when no epoch size is given.  `minibatch_size` is the size the
    values refer to: 1 for rates per sample, 0 when they are per minibatch of whatever size.
    """

    def __init__(self, schedule: Any, minibatch_size: int | None = None, epoch_size: int | None = None):
        if minibatch_size is not None and minibatch_size < 0:
            raise OverflowError("minibatch_size must not be negative")
        self.minibatch_size = 0 if minibatch_size is None else int(minibatch_size)
        self.is_minibatch_size_explicitly_specified = minibatch_size is not None
        if epoch_size is not None and (isinstance(epoch_size, float) or epoch_size < 0):
            raise NotImplementedError(
                "Wrong number or type of arguments for overloaded function "
                "'new_training_double_parameter_schedule'."
            )
        self.epoch_size = 0 if epoch_size is None else int(epoch_size)
        self.by_sweep = self.epoch_size == 0
        unit = self.epoch_size or 1
        if isinstance(schedule, (bool, str)) or not (
            is_scalar(schedule) or isinstance(schedule, (list, tuple))
        ):
            raise ValueError(f"schedule must be either a float or a list, not {type(schedule)}")
        items = [schedule] if is_scalar(schedule) else list(schedule)
        if not items:
            raise RuntimeError("TrainingParameterSchedule::ConstructSchedule : schedule is empty.")
        self.starts: list[int] = []
        self.values: list[float] = []
        position = 0
        for item in items:
            repeat, value = item if isinstance(item, (tuple, list)) else (1, item)
            if repeat < 1:
                raise RuntimeError(
                    "TrainingParameterSchedule::ConstructSchedule : unit count should be greater than 0."
                )
            self.starts.append(position)
            self.values.append(float(value))
            position += int(repeat) * unit
        self.end = 0 if is_scalar(schedule) else position  # of the last value, which then goes on for ever

    def __getitem__(self, position: int) -> float:
        index = int(np.searchsorted(self.starts, position, side="right")) - 1
        return self.values[max(index, 0)]

    def shifted(self, by: int) -> TrainingParameterSchedule:
        """The same schedule beginning at position `by`."""
        result = TrainingParameterSchedule(self.values[0], self.minibatch_size, self.epoch_size)
        result.is_minibatch_size_explicitly_specified = self.is_minibatch_size_explicitly_specified
        result.values = list(self.values)
        result.starts = [start + by if i else 0 for i, start in enumerate(self.starts)]
        result.end = self.end + by if self.end else 0
        return result


def schedule_to_dictionary(schedule: TrainingParameterSchedule) -> dict[str, Any]:
    """As checkpoints hold it: a value under the position where it ends, a single one under 0."""
    ends = [*schedule.starts[1:], schedule.end]
    return {
        "version": SizeT(_VERSION),
        "type": _TYPE,
        "epoch_size": SizeT(schedule.epoch_size),
        "ref_mb_size": SizeT(schedule.minibatch_size),
        "schedule": {str(end): value for end, value in zip(ends, schedule.values, strict=True)},
    }


def schedule_from_dictionary(dictionary: Any) -> TrainingParameterSchedule:
    """Raises RuntimeError when the dictionary is none of a schedule."""

    def get(key: str) -> Any:
        return required(dictionary, key, "N4CNTK25TrainingParameterScheduleIdEE", _VERSION)

    get("version")
    kind = typed(get("type"), str)
    if kind != _TYPE:
        raise RuntimeError(f"Unexpected 'type':'{kind}' in place of '{_TYPE}'.")
    entries = typed(get("schedule"), dict)
    if not entries or not all(re.fullmatch(r"[0-9]{1,18}", end) for end in entries):
        raise RuntimeError("TrainingParameterSchedule: the schedule of a checkpoint is damaged.")
    size = int(typed(dictionary.get("ref_mb_size", SizeT(0)), SizeT, int))
    result = TrainingParameterSchedule(0.0, size, int(typed(get("epoch_size"), SizeT, int)))
    ends = sorted((int(end), float(typed(value, float))) for end, value in entries.items())
    result.values = [value for _, value in ends]
    result.starts = [0, *(end for end, _ in ends[:-1])]
    result.end = ends[-1][0]
    return result


def training_parameter_schedule(
    schedule: Any, unit: UnitType = UnitType.minibatch, epoch_size: int | None = None
) -> TrainingParameterSchedule:
    if isinstance(schedule, TrainingParameterSchedule):
        return schedule
    _warn_of_epoch_size(schedule, epoch_size)
    return TrainingParameterSchedule(schedule, 1 if UnitType(unit) is UnitType.sample else 0, epoch_size)


def _warn_of_epoch_size(schedule: Any, epoch_size: int | None) -> None:
    if isinstance(schedule, (int, float)) and epoch_size is not None:
        warnings.warn(
            "When providing the schedule as a number, epoch_size is ignored", RuntimeWarning, stacklevel=3
        )


def learning_rate_schedule(
    lr: Any, unit: UnitType, epoch_size: int | None = None
) -> TrainingParameterSchedule:
    """Legacy form: the rate is per sample or per minibatch."""
    return training_parameter_schedule(lr, unit, epoch_size)


def learning_parameter_schedule(
    schedule: Any, minibatch_size: int | None = None, epoch_size: int | None = None
) -> TrainingParameterSchedule:
    if isinstance(schedule, TrainingParameterSchedule):
        return schedule
    return TrainingParameterSchedule(schedule, minibatch_size, epoch_size)


def learning_parameter_schedule_per_sample(
    schedule: Any, epoch_size: int | None = None
) -> TrainingParameterSchedule:
    return learning_parameter_schedule(schedule, 1, epoch_size)


def momentum_schedule(
    momentum: Any, epoch_size: int | None = None, minibatch_size: int | None = None
) -> TrainingParameterSchedule:
    return learning_parameter_schedule(momentum, minibatch_size, epoch_size)


def momentum_schedule_per_sample(momentum: Any, epoch_size: int | None = None) -> TrainingParameterSchedule:
    return learning_parameter_schedule(momentum, 1, epoch_size)


def momentum_as_time_constant_schedule(
    momentum: Any, epoch_size: int | None = None
) -> TrainingParameterSchedule:
    """Momentum as the number of samples after which a gradient's share has fallen to 1/e."""

    def per_sample(constant: float) -> float:
        return 0.0 if constant == 0 else math.exp(-1.0 / constant)

    if isinstance(momentum, Sequence) and not isinstance(momentum, str):
        values: Any = [
            (item[0], per_sample(item[1])) if isinstance(item, (tuple, list)) else per_sample(item)
            for item in momentum
        ]
    elif is_scalar(momentum) and not isinstance(momentum, str):
        values = per_sample(momentum)
        _warn_of_epoch_size(values, epoch_size)
    else:
        values = momentum  # refused by the schedule itself, with CNTK's message
    return TrainingParameterSchedule(values, 1, epoch_size)


def infer_schedule(
    value: Any, minibatch_size: int | None, epoch_size: int | None
) -> TrainingParameterSchedule:
    """What a learner does with a bare number or list, and with a schedule that names no minibatch size."""
    if isinstance(value, TrainingParameterSchedule):
        if minibatch_size is not None and minibatch_size < 0:
            raise OverflowError("minibatch_size must not be negative")
        if not value.is_minibatch_size_explicitly_specified and minibatch_size is not None:
            value.minibatch_size = minibatch_size
        return value.shifted(0)  # a copy: another learner may give the same schedule another size
    if isinstance(value, (int, float, list)) and not isinstance(value, bool):
        return TrainingParameterSchedule(value, minibatch_size, epoch_size)
    raise ValueError(
        f"training parameter schedule type ({type(value)}) not supported. training parameter schedule must "
        "be a training schedule "
    )
