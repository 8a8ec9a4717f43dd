"""What all learners share: positions, schedules, reports, clipping, weight decay, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..device import torch_device
from ..internal.checks import required, typed, vector
from ..internal.proto import SizeT
from ..variables import Parameter, shape_text
from .schedules import (
    IGNORE,
    TrainingParameterSchedule,
    infer_schedule,
    schedule_from_dictionary,
    schedule_to_dictionary,
)

if TYPE_CHECKING:
    from ..logging.progress_writer import ProgressWriter

Tensors = list[torch.Tensor]
_VERSION = 3
_KIND = "N4CNTK11LearnerBaseE"


@dataclass(frozen=True)
class Options:
    """The options that every learner takes."""

    l1: float = 0.0
    l2: float = 0.0
    noise: Any = 0.0  # standard deviation, or a schedule of it
    clip: float = math.inf
    clip_truncates: bool = True
    use_mean_gradient: bool | None = None
    minibatch_size: int | None = None
    epoch_size: int | None = None


class Learner:
    """The state and the update rule for some parameters.

    Gradients arrive as sums over the minibatch.  In the normal mode a rate given per M samples is applied to
    the sum as lr/M (M=0: lr/n); with minibatch_size=IGNORE the gradient is averaged first and the rate scaled
    back by n/M.
    """

    # How many tensors of a parameter's size the rule keeps per parameter.
    slots: ClassVar[int] = 0

    def __init__(self, parameters: Sequence[Parameter], lr: Any, options: Options | None = None):
        options = options or Options()
        self._parameters: tuple[Parameter, ...] = tuple(parameters)
        if not self._parameters:
            raise ValueError("The parameters list specified to a Learner must not be empty.")
        if not all(isinstance(p, Parameter) for p in self._parameters):
            raise TypeError("The parameters list specified to a Learner must hold Parameters only.")
        if len(set(self._parameters)) != len(self._parameters):
            raise ValueError("Learner's parameters list must not contain duplicates.")
        minibatch_size = options.minibatch_size
        if minibatch_size is None and options.use_mean_gradient:
            minibatch_size = IGNORE
        self.mean_mode = minibatch_size == IGNORE
        self._minibatch_size = minibatch_size
        self._schedule = infer_schedule(lr, minibatch_size, options.epoch_size)
        if options.use_mean_gradient and self._schedule.minibatch_size == 1:
            # Long ago a rate per sample with mean gradients meant: apply the rate to the mean as it is.
            self._schedule.minibatch_size = IGNORE
        self._options = options
        noise = options.noise
        self._noise = (
            noise if isinstance(noise, TrainingParameterSchedule) else infer_schedule(noise, None, None)
        )
        self._noise_seed = 2  # CNTK's first one
        self._generators: dict[torch.device, torch.Generator] = {}
        self._samples = self._minibatches = self._sweeps = 0
        self._writers: list[ProgressWriter] = []
        self._reported: dict[str, tuple[float, int]] = {}
        self._state: list[Tensors] | None = None
        self._count = 0.0  # what a rule counts beside the tensors

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self._parameters

    @property
    def minibatch_size(self) -> int | None:
        """The size the rates refer to; IGNORE (0) when they apply to mean gradients of any size."""
        return self._minibatch_size

    def is_compatible_mode(self) -> bool:
        """Whether gradients are averaged over the minibatch, as other toolkits do."""
        return self.mean_mode

    # Position
    def total_number_of_samples_seen(self) -> int:
        return self._samples

    def total_number_of_minibatches_seen(self) -> int:
        return self._minibatches

    def total_number_of_sweeps_seen(self) -> int:
        return self._sweeps

    def _current(self, schedule: TrainingParameterSchedule) -> float:
        return schedule[self._sweeps if schedule.by_sweep else self._samples]

    def learning_rate(self) -> float:
        """The value of the schedule now, as it was given."""
        return self._current(self._schedule)

    def reset_learning_rate(self, learning_rate: TrainingParameterSchedule) -> None:
        """A new schedule that begins now."""
        schedule = infer_schedule(learning_rate, self._minibatch_size, None)
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
        """Apply given gradients (arrays, summed over the minibatch).

        Raises RuntimeError when a parameter has no gradient in `gradient_values`.
        """
        gradients = []
        for parameter in self._parameters:
            if parameter not in gradient_values:
                raise RuntimeError(f"Learner.update: no gradient for '{parameter!r}'")
            value = gradient_values[parameter]
            array: np.ndarray = np.asarray(
                value.asarray() if hasattr(value, "asarray") else value, parameter.dtype
            )
            if array.size == np.prod(parameter.shape):
                array = array.reshape(parameter.shape)
            gradients.append(torch.tensor(array, device=torch_device()))
        return self.apply(gradients, training_sample_count, is_sweep_end)

    def apply(self, gradients: Sequence[torch.Tensor], samples: int, is_sweep_end: bool) -> bool:
        """One update; False when the rate is zero, which stops the training: nothing is counted then."""
        self._report_all()
        if self.learning_rate() == 0.0:
            return False
        rate = self._effective_rate(samples)
        with torch.no_grad():
            values = [p.tensor for p in self._parameters]
            self._rule(values, self._prepare(values, list(gradients), samples), rate, samples)
            self._finish(values, rate, samples)
        self._samples += samples
        self._minibatches += 1
        self._sweeps += int(is_sweep_end)
        return True

    def _prepare(self, values: Tensors, gradients: Tensors, samples: int) -> Tensors:
        """Averaging, clipping and weight decay, in CNTK's order."""
        options = self._options
        if self.mean_mode:
            gradients = list(torch._foreach_div(gradients, float(samples)))
        if math.isfinite(options.clip):
            limit = options.clip * (1 if self.mean_mode else samples)
            if options.clip_truncates:
                gradients = [g.clamp(-limit, limit) for g in gradients]
            else:
                gradients = [
                    g * (limit / norm).clamp(max=1.0) for g, norm in ((g, g.norm()) for g in gradients)
                ]
        if options.l2 > 0.0:
            decay = options.l2 * (1 if self.mean_mode else samples)
            gradients = list(torch._foreach_add(gradients, values, alpha=decay))
        return gradients

    def _finish(self, values: Tensors, rate: float, samples: int) -> None:
        """Noise, then the L1 threshold."""
        deviation = self._current(self._noise)
        if deviation > 0.0:
            for value in values:
                generator = self._generators.get(value.device)
                if generator is None:
                    generator = self._generators[value.device] = torch.Generator(value.device)
                generator.manual_seed(self._noise_seed)
                self._noise_seed += 1
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype, device=value.device)
                value.add_(noise, alpha=deviation)
        if self._options.l1 > 0.0:
            threshold = self._options.l1 * rate * (1 if self.mean_mode else samples)
            for value in values:
                value.copy_(torch.nn.functional.softshrink(value, threshold))

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        """The update itself: changes `values` in place.  `gradients` must not be changed."""
        raise NotImplementedError

    # State
    def _states(self, values: Tensors) -> list[Tensors]:
        """The rule's tensors, `slots` lists of one per parameter; zeros at first."""
        if self._state is None:
            self._state = [[torch.zeros_like(value) for value in values] for _ in range(self.slots)]
        return self._state

    def reset_smoothed_gradients(self) -> None:
        """Forget the past gradients."""
        self._state = None
        self._count = 0.0

    def create_checkpoint(self) -> dict[str, Any]:
        """The dictionary that a trainer's checkpoint holds for this learner."""
        result: dict[str, Any] = {
            "version": SizeT(_VERSION),
            "type": "Learner",
            "sample_count": SizeT(self._samples),
            "minibatchCount": SizeT(self._minibatches),
            "sweepCount": SizeT(self._sweeps),
            "learnig_rate_schedule": schedule_to_dictionary(self._schedule),  # CNTK's own spelling
            "noise_injection_seed": SizeT(self._noise_seed),
            "master_parameter_updated": True,
            "smoothed_gradients": [self._smoothed(i) for i in range(len(self._parameters))],
        }
        if self._counts:
            result["smoothed_count"] = float(self._count)
        return result

    _counts: ClassVar[bool] = False

    def _smoothed(self, index: int) -> np.ndarray:
        parameter = self._parameters[index]
        if not self.slots:
            return np.zeros((), parameter.dtype)
        if self._state is None:
            parts: list[np.ndarray] = [np.zeros(parameter.shape, parameter.dtype)] * self.slots
        else:
            parts = [slot[index].cpu().contiguous().numpy() for slot in self._state]
        return np.stack(parts).reshape(self._smoothed_shape(parameter.shape))

    def _smoothed_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of a smoothed gradient in a file: a scalar without state, the parameter's own shape for one
        tensor, else a matrix (column-major in CNTK: [last axis, the others]) with the slots side by side."""
        if self.slots < 2:
            return shape if self.slots else ()
        width = shape[-1] if shape else 1
        return (self.slots * (math.prod(shape) // max(width, 1)), width)

    def restore_from_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue where `create_checkpoint` was called.

        Raises RuntimeError when the dictionary is not one of a learner for these parameters.
        """

        def get(key: str) -> Any:
            return required(checkpoint, key, _KIND, _VERSION)

        get("version")
        if typed(get("type"), str) != "Learner":
            raise RuntimeError(f"Unexpected 'type':'{checkpoint['type']}' in place of 'Learner'.")
        samples, minibatches = (
            int(typed(get(key), SizeT, int)) for key in ("sample_count", "minibatchCount")
        )
        sweeps = int(typed(checkpoint.get("sweepCount", SizeT(0)), SizeT, int))
        schedule = schedule_from_dictionary(get("learnig_rate_schedule"))
        stored = vector(get("smoothed_gradients"), np.ndarray)
        if len(stored) != len(self._parameters):
            raise RuntimeError(
                f"Learner: {len(stored)} smoothed gradients in a checkpoint for {len(self._parameters)} "
                "parameters."
            )
        state: list[Tensors] = [[] for _ in range(self.slots)]
        for parameter, array in zip(self._parameters, stored, strict=True):
            shape = self._smoothed_shape(parameter.shape)
            if array.shape != shape:
                raise RuntimeError(
                    f"Shape '{shape_text(shape)}' of the smoothed gradient value restored from checkpoint "
                    f"for the parameter '{parameter!r}' (uid = {parameter.uid}) does not match the expected "
                    "value."
                )
            for slot, tensors in enumerate(state):
                part = array.reshape(self.slots, *parameter.shape)[slot]
                tensor = torch.empty_like(parameter.tensor, requires_grad=False)
                tensors.append(tensor.copy_(torch.tensor(part)))
        count = float(typed(checkpoint.get("smoothed_count", 0.0), float))
        seed = int(typed(checkpoint.get("noise_injection_seed", SizeT(2)), SizeT, int))
        self._samples, self._minibatches, self._sweeps = samples, minibatches, sweeps
        self._schedule, self._noise_seed, self._count = schedule, seed, count
        self._state = state if self.slots else None
