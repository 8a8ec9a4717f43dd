"""Accumulating losses and deciding when a progress writer writes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch


def should_write(update: int, freq: int | None, first: int) -> bool:
    """freq n: every n-th update and the first ones; 0: updates 1, 3, 7, 15, ...; None: never."""
    if freq is None:
        return False
    if freq == 0:
        return (update + 1) & update == 0
    return update % freq == 0 or update <= first


class _Sum:
    """A running sum that stays on the device until somebody reads it."""

    def __init__(self) -> None:
        self._tensor: torch.Tensor | None = None
        self._number = 0.0

    def add(self, value: torch.Tensor | float) -> None:
        if isinstance(value, torch.Tensor):
            if self._tensor is None:
                self._tensor = torch.zeros((), dtype=torch.float64, device=value.device)
            self._tensor += value
        else:
            self._number += value

    @property
    def value(self) -> float:
        return self._number + (0.0 if self._tensor is None else self._tensor.item())


@dataclass
class Progress:
    """Totals since the last summary, and what they were when the last line was written."""

    updates: int = 0
    samples: int = 0
    loss: _Sum = field(default_factory=_Sum)
    metric: _Sum = field(default_factory=_Sum)
    written: tuple[int, int, float, float] = (0, 0, 0.0, 0.0)

    def add(self, samples: int, loss: Any, metric: Any) -> None:
        self.updates += 1
        self.samples += samples
        if loss is not None:
            self.loss.add(loss)
        if metric is not None:
            self.metric.add(metric)

    def averages(self) -> tuple[float, float]:
        """(loss, metric) per sample."""
        count = max(self.samples, 1)
        return self.loss.value / count, self.metric.value / count

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float], tuple[float, float]]:
        """(before, now) of samples, updates, loss and metric; `now` becomes the next `before`."""
        now = (self.updates, self.samples, self.loss.value, self.metric.value)
        before, self.written = self.written, now
        return (before[1], now[1]), (before[0], now[0]), (before[2], now[2]), (before[3], now[3])


class ProgressWriter:
    """Base of all writers: subclasses override the `on_write_*` methods."""

    def __init__(
        self, freq: int | None, first: int, test_freq: int | None, test_first: int, distributed_freq: int |
        None,
        distributed_first: int,
    ):  # fmt: skip
        self._freq, self._first = freq, first
        self._test_freq, self._test_first = test_freq, test_first
        self._distributed_freq, self._distributed_first = distributed_freq, distributed_first
        self._training = Progress()
        self._testing = Progress()
        self._training_summaries = 0
        self._test_summaries = 0
        self._total_training_updates = 0
        self._total_test_updates = 0
        self._since = time.monotonic()
        self._sync_updates = self._sync_samples = 0
        self._sync_written = (0, 0)

    def update_training(
        self, samples: int, loss: torch.Tensor | float, metric: torch.Tensor | float | None
    ) -> None:
        self._training.add(samples, loss, metric)
        self._total_training_updates += 1
        if should_write(self._training.updates, self._freq, self._first):
            self.on_write_training_update(*self._training.ranges())
        self.on_training_update_end()

    def update_distributed_sync(self, samples: int) -> None:
        """The workers have put together `samples` samples since the last time."""
        self._sync_updates += 1
        self._sync_samples += samples
        if should_write(self._sync_updates, self._distributed_freq, self._distributed_first):
            (updates_before, samples_before), self._sync_written = (
                self._sync_written,
                (self._sync_updates, self._sync_samples),
            )
            self.on_write_distributed_sync_update(
                (samples_before, self._sync_samples), (updates_before, self._sync_updates), None
            )

    def update_test(self, samples: int, metric: torch.Tensor | float) -> None:
        self._testing.add(samples, None, metric)
        self._total_test_updates += 1
        if should_write(self._testing.updates, self._test_freq, self._test_first):
            sample_range, updates, _, metrics = self._testing.ranges()
            self.on_write_test_update(sample_range, updates, metrics)

    def _elapsed(self) -> int:
        now = time.monotonic()
        elapsed, self._since = int((now - self._since) * 1000), now
        return elapsed

    def write_training_summary(self, averages: tuple[float, float] | None = None) -> None:
        """The end of an epoch; `averages` (loss, metric) where they are not this process's own."""
        progress, self._training = self._training, Progress()
        self._training_summaries += 1
        loss, metric = averages if averages is not None else (None, None)
        self.on_write_training_summary(
            progress.samples,
            progress.updates,
            self._training_summaries,
            progress.loss.value if loss is None else loss * progress.samples,
            progress.metric.value if metric is None else metric * progress.samples,
            self._elapsed(),
        )

    def write_test_summary(self) -> None:
        progress, self._testing = self._testing, Progress()
        self._test_summaries += 1
        self.on_write_test_summary(
            progress.samples, progress.updates, self._test_summaries, progress.metric.value, self._elapsed()
        )

    def total_training_updates(self) -> int:
        return self._total_training_updates

    def total_test_updates(self) -> int:
        return self._total_test_updates

    def __disown__(self) -> ProgressWriter:
        """What scripts for CNTK's native base class call to keep the writer alive: it is anyway."""
        return self

    # To be overridden
    def write(self, key: str, value: Any) -> None:
        """A single value, such as a changed learning rate."""

    def on_training_update_end(self) -> None:
        """After every training minibatch."""

    def on_write_training_update(
        self, samples: Any, updates: Any, aggregate_loss: Any, aggregate_metric: Any
    ) -> None:
        """A progress line is due."""

    def on_write_distributed_sync_update(self, samples: Any, updates: Any, aggregate_metric: Any) -> None:
        """A line about the workers' synchronisations is due."""

    def on_write_test_update(self, samples: Any, updates: Any, aggregate_metric: Any) -> None:
        """A line about testing is due."""

    def on_write_training_summary(
        self, samples: int, updates: int, summaries: int, aggregate_loss: float, aggregate_metric: float,
        elapsed_milliseconds: int,
    ) -> None:  # fmt: skip
        """The end of an epoch."""

    def on_write_test_summary(
        self, samples: int, updates: int, summaries: int, aggregate_metric: float, elapsed_milliseconds: int
    ) -> None:
        """The end of a test."""
