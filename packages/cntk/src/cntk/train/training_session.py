"""What training loops share with `training_session`."""

from __future__ import annotations

from typing import Any

from ..internal.missing import module_getattr
from ..learners.schedules import TrainingParameterSchedule


class MinibatchSizeSchedule(TrainingParameterSchedule):
    """A minibatch size per position (samples seen so far)."""

    def __getitem__(self, position: int) -> int:
        return int(super().__getitem__(position))


def minibatch_size_schedule(schedule: Any, epoch_size: int = 1) -> MinibatchSizeSchedule:
    """Sizes that change while training: [10, 20], 30 is 10 for the first 30 samples, then 20."""
    result = MinibatchSizeSchedule(schedule, 0, epoch_size)
    if any(size < 1 for size in result.values):
        raise ValueError("minibatch_size_schedule: sizes must be positive")
    return result


__getattr__ = module_getattr("cntk.train.training_session")
