"""Learners: how gradients change parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..device import torch_device
from ..internal.missing import module_getattr, unavailable
from ..variables import Parameter
from .schedules import (
    IGNORE,
    TrainingParameterSchedule,
    UnitType,
    infer_schedule,
    learning_parameter_schedule,
    learning_parameter_schedule_per_sample,
    learning_rate_schedule,
    momentum_as_time_constant_schedule,
    momentum_schedule,
    momentum_schedule_per_sample,
    training_parameter_schedule,
)

if TYPE_CHECKING:
    from ..logging.progress_writer import ProgressWriter


class Learner:
    """The state and the update rule for some parameters.

    Gradients arrive as sums over the minibatch.  In the normal mode a rate given per M samples is applied to
    the sum as lr/M (M=0: lr/n); with minibatch_size=IGNORE the gradient is averaged first and the rate scaled
    back by n/M.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: Any,
        *,
        l1: float,
        l2: float,
        noise: float,
        clip: float,
        clip_truncates: bool,
        use_mean_gradient: bool | None,
        minibatch_size: int | None,
        epoch_size: int | None,
    ):
        self.parameters: tuple[Parameter, ...] = tuple(parameters)
        if not self.parameters:
            raise ValueError("The parameters list specified to a Learner must not be empty.")
        if not all(isinstance(p, Parameter) for p in self.parameters):
            raise TypeError("The parameters list specified to a Learner must hold Parameters only.")
        if len(set(self.parameters)) != len(self.parameters):
            raise ValueError("Learner's parameters list must not contain duplicates.")
        if noise != 0.0:
            raise unavailable("gaussian_noise_injection_std_dev")
        if minibatch_size is None and use_mean_gradient:
            minibatch_size = IGNORE
        self.mean_mode = minibatch_size == IGNORE
        self.minibatch_size = minibatch_size
        self._schedule = infer_schedule(lr, minibatch_size, epoch_size)
        if use_mean_gradient and self._schedule.minibatch_size == 1:
            # Long ago a rate per sample with mean gradients meant: apply the rate to the mean as it is.
            self._schedule.minibatch_size = IGNORE
        self._l1, self._l2 = l1, l2
        self._clip, self._clip_truncates = clip, clip_truncates
        self._samples = self._minibatches = self._sweeps = 0
        self._writers: list[ProgressWriter] = []
        self._reported: dict[str, tuple[float, int]] = {}

    # Position
    @property
    def total_number_of_samples_seen(self) -> int:
        return self._samples

    @property
    def total_number_of_minibatches_seen(self) -> int:
        return self._minibatches

    @property
    def total_number_of_sweeps_seen(self) -> int:
        return self._sweeps

    def _current(self, schedule: TrainingParameterSchedule) -> float:
        return schedule[self._sweeps if schedule.by_sweep else self._samples]

    def learning_rate(self) -> float:
        return self._current(self._schedule)

    def reset_learning_rate(self, learning_rate: TrainingParameterSchedule) -> None:
        """A new schedule that begins now."""
        schedule = infer_schedule(learning_rate, self.minibatch_size, None)
        self._schedule = schedule.shifted(self._sweeps if schedule.by_sweep else self._samples)

    def _effective_rate(self, samples: int) -> float:
        rate, size = self.learning_rate(), self._schedule.minibatch_size
        if self.mean_mode:
            return rate if size == 0 else rate * samples / size
        return rate / samples if size == 0 else rate / size

    def _effective_momentum(self, schedule: TrainingParameterSchedule, samples: int) -> float:
        momentum, size = self._current(schedule), schedule.minibatch_size
        return momentum if size == 0 or momentum == 0.0 else math.pow(momentum, samples / size)

    # Reports
    def add_progress_writers(self, writers: Sequence[ProgressWriter]) -> None:
        self._writers.extend(writers)

    def _report(self, what: str, schedule: TrainingParameterSchedule) -> None:
        value = self._current(schedule)
        if self._reported.get(what) == (value, schedule.minibatch_size):
            return
        self._reported[what] = (value, schedule.minibatch_size)
        per = f"{schedule.minibatch_size} samples" if schedule.minibatch_size else "minibatch"
        for writer in self._writers:
            writer.write(f"{what} per {per}", value)

    def _report_all(self) -> None:
        self._report("Learning rate", self._schedule)

    # Update
    def update(
        self, gradient_values: Mapping[Parameter, Any], training_sample_count: int, is_sweep_end: bool = False
    ) -> bool:
        """Apply given gradients (arrays, summed over the minibatch)."""
        gradients = []
        for parameter in self.parameters:
            if parameter not in gradient_values:
                raise RuntimeError(f"Learner.update: no gradient for '{parameter!r}'")
            value = gradient_values[parameter]
            array: np.ndarray = np.asarray(
                value.asarray() if hasattr(value, "asarray") else value, parameter.dtype
            )
            gradients.append(torch.tensor(array, device=torch_device()))
        return self.apply(gradients, training_sample_count, is_sweep_end)

    def apply(self, gradients: Sequence[torch.Tensor], samples: int, is_sweep_end: bool) -> bool:
        """One update; False when the rate is zero, which stops the training."""
        self._report_all()
        rate = self._effective_rate(samples)
        proceed = self.learning_rate() != 0.0
        if proceed:
            with torch.no_grad():
                values = [p.tensor for p in self.parameters]
                self._rule(values, self._prepare(values, list(gradients), samples), rate, samples)
                if self._l1 > 0.0:
                    threshold = self._l1 * rate * (1 if self.mean_mode else samples)
                    for value in values:
                        value.copy_(torch.nn.functional.softshrink(value, threshold))
        self._samples += samples
        self._minibatches += 1
        self._sweeps += int(is_sweep_end)
        return proceed

    def _prepare(
        self, values: Sequence[torch.Tensor], gradients: list[torch.Tensor], samples: int
    ) -> list[torch.Tensor]:
        """Averaging, clipping and weight decay, in CNTK's order."""
        if self.mean_mode:
            gradients = list(torch._foreach_div(gradients, float(samples)))
        if math.isfinite(self._clip):
            limit = self._clip * (1 if self.mean_mode else samples)
            if self._clip_truncates:
                gradients = [g.clamp(-limit, limit) for g in gradients]
            else:
                gradients = [
                    g * (limit / norm).clamp(max=1.0) for g, norm in ((g, g.norm()) for g in gradients)
                ]
        if self._l2 > 0.0:
            decay = self._l2 * (1 if self.mean_mode else samples)
            gradients = list(torch._foreach_add(gradients, list(values), alpha=decay))
        return gradients

    def _rule(
        self, values: list[torch.Tensor], gradients: list[torch.Tensor], rate: float, samples: int
    ) -> None:
        torch._foreach_add_(values, gradients, alpha=-rate)


class _MomentumLearner(Learner):
    """Momentum and Nesterov: the learning rate is inside the velocity."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: Any,
        momentum: Any,
        unit_gain: bool,
        nesterov: bool,
        **options: Any,
    ):
        super().__init__(parameters, lr, **options)
        self._momentum = infer_schedule(momentum, self.minibatch_size, options["epoch_size"])
        self._unit_gain = unit_gain
        self._nesterov = nesterov
        self._velocity: list[torch.Tensor] | None = None

    def _report_all(self) -> None:
        super()._report_all()
        if not self._nesterov:
            self._report("Momentum", self._momentum)

    def reset_smoothed_gradients(self) -> None:
        self._velocity = None

    def _rule(
        self, values: list[torch.Tensor], gradients: list[torch.Tensor], rate: float, samples: int
    ) -> None:
        momentum = self._effective_momentum(self._momentum, samples)
        gain = rate * (1.0 - momentum if self._unit_gain else 1.0)
        step = list(torch._foreach_mul(gradients, gain))
        if self._velocity is None or momentum == 0.0:
            self._velocity = step
        else:
            torch._foreach_mul_(self._velocity, momentum)
            torch._foreach_add_(self._velocity, step)
        if self._nesterov:
            torch._foreach_add_(values, self._velocity, alpha=-momentum)
            torch._foreach_sub_(values, step)
        else:
            torch._foreach_sub_(values, self._velocity)


def sgd(
    parameters: Sequence[Parameter],
    lr: Any,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: float = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """w -= lr * g"""
    return Learner(
        parameters,
        lr,
        l1=l1_regularization_weight,
        l2=l2_regularization_weight,
        noise=gaussian_noise_injection_std_dev,
        clip=gradient_clipping_threshold_per_sample,
        clip_truncates=gradient_clipping_with_truncation,
        use_mean_gradient=use_mean_gradient,
        minibatch_size=minibatch_size,
        epoch_size=epoch_size,
    )


def _with_momentum(nesterov: bool, arguments: dict[str, Any]) -> Learner:
    return _MomentumLearner(
        arguments["parameters"],
        arguments["lr"],
        arguments["momentum"],
        arguments["unit_gain"],
        nesterov,
        l1=arguments["l1_regularization_weight"],
        l2=arguments["l2_regularization_weight"],
        noise=arguments["gaussian_noise_injection_std_dev"],
        clip=arguments["gradient_clipping_threshold_per_sample"],
        clip_truncates=arguments["gradient_clipping_with_truncation"],
        use_mean_gradient=arguments["use_mean_gradient"],
        minibatch_size=arguments["minibatch_size"],
        epoch_size=arguments["epoch_size"],
    )


def momentum_sgd(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: float = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """v = m v + u lr g; w -= v, with u = 1 - m when unit_gain"""
    return _with_momentum(False, locals())


def nesterov(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: float = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """v = m v + u lr g; w -= m v + u lr g"""
    return _with_momentum(True, locals())


__all__ = [
    "IGNORE", "Learner", "TrainingParameterSchedule", "UnitType", "learning_parameter_schedule",
    "learning_parameter_schedule_per_sample", "learning_rate_schedule", "momentum_as_time_constant_schedule",
    "momentum_schedule", "momentum_schedule_per_sample", "momentum_sgd", "nesterov", "sgd",
    "training_parameter_schedule",
]  # fmt: skip

__getattr__ = module_getattr("cntk.learners")
