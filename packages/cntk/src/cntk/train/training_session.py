"""`training_session`: the loop around a Trainer, with checkpoints, cross validation, progress and a test."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Any

from ..internal.missing import module_getattr
from ..internal.native import write_stderr
from ..io import INFINITELY_REPEAT, MinibatchSource, MinibatchSourceFromData, UserMinibatchSource
from ..learners.schedules import TrainingParameterSchedule
from ..ops.functions import Function
from ..variables import Variable
from .trainer import Trainer

_NEVER = sys.maxsize
_SOURCE_KEY = "TrainingMinibatchSource"


@unique
class DataUnit(Enum):
    """What a frequency counts."""

    sample = 0
    minibatch = 1
    sweep = 2


class MinibatchSizeSchedule(TrainingParameterSchedule):
    """A minibatch size per position (samples seen so far)."""

    def __getitem__(self, position: int) -> int:
        return int(super().__getitem__(position))


def minibatch_size_schedule(schedule: Any, epoch_size: int = 1) -> MinibatchSizeSchedule:
    """Sizes that change while training: [10, 20], 30 is 10 for the first 30 samples, then 20."""
    if isinstance(schedule, MinibatchSizeSchedule):
        return schedule
    result = MinibatchSizeSchedule(schedule, 0, epoch_size)
    if any(size < 1 for size in result.values):
        raise ValueError("minibatch_size_schedule: sizes must be positive")
    return result


def _frequency(value: Any, what: str) -> tuple[int, DataUnit]:
    if value is None:
        return _NEVER, DataUnit.sample
    number, unit = value if isinstance(value, tuple) else (value, DataUnit.sample)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise NotImplementedError(f"Wrong number or type of arguments for overloaded function 'new_{what}'.")
    return number or _NEVER, DataUnit(unit)


def from_data(
    source: Any, mapping: Any, arguments: tuple[Variable, ...], max_samples: int = INFINITELY_REPEAT
) -> tuple[Any, dict[Variable, Any]]:
    """(source, input map) of what a caller passed as data: a source, or arrays in the order of `arguments`.

    Raises ValueError when arrays are given with a mapping, or not one for each argument.
    """
    if isinstance(source, (MinibatchSource, UserMinibatchSource)):
        if isinstance(mapping, Mapping):
            return source, {_variable(key): stream for key, stream in mapping.items()}
        streams = tuple(source.stream_infos() if mapping is None else mapping)
        if len(streams) != len(arguments):
            raise ValueError(
                f"the criterion has {len(arguments)} arguments, but {len(streams)} streams were given"
            )
        return source, dict(zip(arguments, streams, strict=True))
    if mapping is not None:
        raise ValueError("mapping must not be provided when data is passed directly")
    data = tuple(source)
    if len(data) != len(arguments):
        raise ValueError(
            f"to pass data directly in place of a minibatch source, pass a tuple of {len(arguments)} numpy "
            "or scipy arrays, in the order of the arguments of the criterion function. You passed "
            f"{len(data)} value(s)"
        )
    named = {f"stream_{i}": value for i, value in enumerate(data)}
    wrapped = MinibatchSourceFromData(named, max_samples)
    return wrapped, dict(zip(arguments, wrapped.stream_infos(), strict=True))


def _variable(key: Any) -> Variable:
    result: Variable = key.output if isinstance(key, Function) else key
    return result


class CheckpointConfig:
    """Where and how often to save: `filename` and `filename`.ckp every `frequency` samples (or
    (n, DataUnit)), with `preserve_all` numbered files.  `restore`: continue from the newest one found."""

    def __init__(
        self, filename: Any, frequency: Any = None, restore: bool = True, preserve_all: bool = False
    ):
        if filename is None and frequency:
            raise ValueError("Checkpoint frequency cannot be specified without checkpoint_filename")
        self.filename = None if filename is None else str(filename)
        self.frequency = _frequency(frequency, "CheckpointConfig")
        self.restore = restore
        self.preserve_all = preserve_all


class _Evaluation:
    """What cross validation and testing share."""

    def __init__(
        self,
        minibatch_source: Any,
        minibatch_size: Any,
        model_inputs_to_streams: Any,
        criterion: Any,
        source: Any,
        mb_size: Any,
        max_samples: int | None,
    ):
        # `source` and `mb_size` are the parameters' old names.
        minibatch_source = source if minibatch_source is None else minibatch_source
        self.size = minibatch_size_schedule(minibatch_size if mb_size is None else mb_size)
        self.max_samples = INFINITELY_REPEAT if max_samples is None else int(max_samples)
        self.source: Any = minibatch_source
        self.streams: dict[Variable, Any] | None = None
        if minibatch_source is None:
            return
        direct = not isinstance(minibatch_source, (MinibatchSource, UserMinibatchSource))
        if direct and criterion is None:
            raise ValueError("the criterion is required when data is passed directly")
        if direct or not isinstance(model_inputs_to_streams, (Mapping, type(None))):
            if criterion is None:
                raise ValueError("the criterion is required to map streams in the order of its arguments")
            self.source, self.streams = from_data(
                minibatch_source, model_inputs_to_streams, criterion.arguments
            )
            if direct:
                self.max_samples = min(self.max_samples, self.source.samples_per_sweep)
        elif model_inputs_to_streams is not None:
            self.streams = {_variable(k): v for k, v in model_inputs_to_streams.items()}

    def is_infinite(self) -> bool:
        """Whether an evaluation would never end."""
        return self.max_samples == INFINITELY_REPEAT and bool(self.source.is_infinite())


class CrossValidationConfig(_Evaluation):
    """How often to evaluate on other data while training; `callback(index, average_error, num_samples,
    num_minibatches)` may return False to stop."""

    def __init__(
        self,
        minibatch_source: Any = None,
        frequency: Any = None,
        minibatch_size: Any = 32,
        callback: Callable[[int, float, int, int], Any] | None = None,
        max_samples: int | None = None,
        model_inputs_to_streams: Any = None,
        criterion: Any = None,
        source: Any = None,
        mb_size: Any = None,
    ):
        super().__init__(
            minibatch_source, minibatch_size, model_inputs_to_streams, criterion, source, mb_size, max_samples
        )
        self.frequency = _frequency(frequency, "CrossValidationConfig")
        self.callback = callback


class TestConfig(_Evaluation):
    """A test after the training."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    def __init__(
        self,
        minibatch_source: Any = None,
        minibatch_size: Any = 32,
        model_inputs_to_streams: Any = None,
        criterion: Any = None,
        source: Any = None,
        mb_size: Any = None,
    ):
        super().__init__(
            minibatch_source, minibatch_size, model_inputs_to_streams, criterion, source, mb_size, None
        )


@dataclass
class _Action:
    """Something to do whenever another `frequency` units are done."""

    frequency: int
    unit: DataUnit
    run: Callable[[int], bool]
    index: int = 0
    done_at: int = 0  # the units seen when it last ran


class TrainingSession:
    """One training with everything around it; made by `training_session`."""

    def __init__(
        self,
        trainer: Trainer,
        mb_source: Any,
        mb_size: Any,
        model_inputs_to_streams: Any,
        max_samples: int | None,
        progress_frequency: Any,
        checkpoint_config: CheckpointConfig | None,
        cv_config: CrossValidationConfig | None,
        test_config: TestConfig | None,
    ):
        if trainer is None:
            raise ValueError("Trainer must not be None.")
        if mb_source is None:
            raise ValueError("Training minibatch source must not be None.")
        self.trainer = trainer
        limit = INFINITELY_REPEAT if max_samples is None else int(max_samples)
        self.source, self.streams = from_data(
            mb_source, model_inputs_to_streams, trainer.criterion_arguments(), limit
        )
        if max_samples is None and self.source.is_infinite():
            raise ValueError("Train minibatch source must have a limited number of samples or sweeps.")
        for what, config in (("Cross validation", cv_config), ("Test", test_config)):
            if config is not None and config.source is not None and config.is_infinite():
                raise ValueError(f"{what} minibatch source must have a limited number of samples or sweeps.")
        self.max_samples = limit
        self.mb_size = minibatch_size_schedule(mb_size)
        self.checkpoint = checkpoint_config if checkpoint_config is not None else CheckpointConfig(None)
        self.cv = cv_config
        self.test = test_config
        self._actions: list[_Action] = []
        if self.checkpoint.filename is not None:
            self._add(self.checkpoint.frequency, self._save)
        self._add(_frequency(progress_frequency, "training_session"), self._report)
        if self.cv is not None:
            self._add(self.cv.frequency, self._validate)

    def _add(self, frequency: tuple[int, DataUnit], run: Callable[[int], bool]) -> None:
        self._actions.append(_Action(*frequency, run))

    # To be overridden
    def on_minibatch_start(self) -> None:
        """Before every training minibatch."""

    def on_minibatch_end(self) -> bool:
        """After every training minibatch; False ends the training."""
        return True

    def on_checkpoint_start(self, index: int) -> None:
        """Before a checkpoint is saved."""

    def on_checkpoint_end(self, index: int) -> None:
        """After a checkpoint is saved."""

    def on_cross_validation_start(self, index: int) -> None:
        """Before a cross validation."""

    def on_cross_validation_end(
        self, index: int, average_error: float, num_samples: int, num_minibatches: int
    ) -> bool:
        """After a cross validation; False ends the training."""
        if self.cv is not None and self.cv.callback is not None:
            return bool(self.cv.callback(index, average_error, num_samples, num_minibatches))
        return True

    def get_minibatch_size(self) -> int:
        """The size of the next minibatch, before it is cut to what is left."""
        return self.mb_size[self.trainer.total_number_of_samples_seen]

    # The loop
    def train(self, device: Any = None) -> None:
        """Train, save, validate and test as configured."""
        restored = -1
        if self.checkpoint.restore and self.checkpoint.filename is not None and self._restore():
            restored = self.trainer.total_number_of_samples_seen
        go_on, stopped = self.max_samples > 0, False
        while go_on:
            left = 0 if stopped else self.max_samples - self.trainer.total_number_of_samples_seen
            minibatch = self._next_minibatch(left) if left > 0 else {}
            self.on_minibatch_start()
            go_on = self.trainer.train_minibatch(minibatch)
            stopped |= not self.on_minibatch_end()
            for action in self._actions:
                seen = self.trainer.total_number_of_units_seen(action.unit)
                index = seen // action.frequency
                if index != action.index:
                    stopped |= not action.run(action.index)
                    action.index, action.done_at = index, seen
        if restored != self.trainer.total_number_of_samples_seen:
            for action in self._actions:
                seen = self.trainer.total_number_of_units_seen(action.unit)
                if seen % action.frequency and seen != action.done_at:
                    action.run(action.index)
        final = self.checkpoint.filename
        if self.checkpoint.preserve_all and final is not None and not Path(final).exists():
            self._write_checkpoint(final)
        if self.test is not None and self.test.source is not None:
            self._evaluate(self.test, report=True)

    def _read(self, source: Any, streams: Mapping[Variable, Any], size: int) -> dict[Variable, Any]:
        workers, rank = self.trainer.partition()
        if isinstance(source, UserMinibatchSource):
            data = source.next_minibatch(size, workers, rank)
            return {variable: data[stream] for variable, stream in streams.items()} if data else {}
        result: dict[Variable, Any] = source.next_minibatch(size, dict(streams), None, workers, rank)
        return result

    def _next_minibatch(self, left: int) -> dict[Variable, Any]:
        size = min(self.get_minibatch_size() * self.trainer.minibatch_scale(), left)
        return self._read(self.source, self.streams, size)

    def _report(self, index: int) -> bool:
        self.trainer.summarize_training_progress()
        return True

    # Checkpoints
    def _save(self, index: int) -> bool:
        self.on_checkpoint_start(index)
        number = str(index) if self.checkpoint.preserve_all else ""
        self._write_checkpoint(f"{self.checkpoint.filename}{number}")
        self.on_checkpoint_end(index)
        return True

    def _write_checkpoint(self, filename: str) -> None:
        self.trainer.save_checkpoint(filename, {_SOURCE_KEY: self.source.get_checkpoint_state()})

    def _restore(self) -> bool:
        """Continue from the checkpoint, or the one of the highest number.  False when there is none."""
        assert self.checkpoint.filename is not None
        path = Path(self.checkpoint.filename)
        if not path.exists():
            numbered = {}
            for other in path.parent.glob(f"{path.name}*"):
                match = re.fullmatch(re.escape(path.name) + r"([0-9]{1,18})", other.name)
                if match and other.with_name(f"{other.name}.ckp").exists():
                    numbered[int(match[1])] = other
            if not numbered:
                return False
            path = numbered[max(numbered)]
        self.restore_from_checkpoint(str(path))
        return True

    def restore_from_checkpoint(self, checkpoint_filename: str) -> None:
        """Continue from these files; what the source and the actions have done is set accordingly."""
        write_stderr(f"Restoring training session from the checkpoint '{checkpoint_filename}'\n")
        state = self.trainer.restore_from_checkpoint(checkpoint_filename)
        if _SOURCE_KEY in state:
            self.source.restore_from_checkpoint(state[_SOURCE_KEY])
        for action in self._actions:
            action.done_at = self.trainer.total_number_of_units_seen(action.unit)
            action.index = action.done_at // action.frequency

    # Evaluation
    def _validate(self, index: int) -> bool:
        assert self.cv is not None
        if self.cv.source is None:
            return self.on_cross_validation_end(index, 0.0, 0, 0)
        self.on_cross_validation_start(index)
        position = self.cv.source.get_checkpoint_state()
        error, samples, minibatches = self._evaluate(self.cv, report=True)
        self.cv.source.restore_from_checkpoint(position)
        average = error / samples if samples else 0.0
        return self.on_cross_validation_end(index, average, samples, minibatches)

    def _evaluate(self, config: _Evaluation, report: bool) -> tuple[float, int, int]:
        """(sum of the metric, samples, minibatches) over the config's data."""
        streams = config.streams
        if streams is None:
            # The streams of the training data, by name.
            own = {info.m_name: info for info in config.source.stream_infos()}
            streams = {variable: own[info.m_name] for variable, info in self.streams.items()}
        total, samples, minibatches = 0.0, 0, 0
        while samples < config.max_samples:
            size = min(config.size[samples], config.max_samples - samples)
            minibatch = self._read(config.source, streams, size)
            metric, count = self.trainer.evaluate_minibatch(minibatch, distributed=True)
            if not count:
                break
            total, samples, minibatches = total + metric, samples + count, minibatches + 1
        self.trainer.summarize_test_progress()
        return total, samples, minibatches


def training_session(
    trainer: Trainer,
    mb_source: Any,
    mb_size: Any,
    model_inputs_to_streams: Any,
    progress_frequency: Any = None,
    max_samples: int | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    cv_config: CrossValidationConfig | None = None,
    test_config: TestConfig | None = None,
) -> TrainingSession:
    """A session whose `train()` runs the whole training.

    Frequencies are samples, or pairs (n, DataUnit); None: only at the end.  `mb_source` is a minibatch source
    with `model_inputs_to_streams` ({variable: stream}), or a tuple of arrays in the order of the criterion's
    arguments.

    Raises ValueError without a trainer or a source, or when the training would never end.
    """
    return TrainingSession(
        trainer,
        mb_source,
        mb_size,
        model_inputs_to_streams,
        max_samples,
        progress_frequency,
        checkpoint_config,
        cv_config,
        test_config,
    )


__all__ = [
    "CheckpointConfig", "CrossValidationConfig", "DataUnit", "MinibatchSizeSchedule", "TestConfig",
    "TrainingSession", "minibatch_size_schedule", "training_session",
]  # fmt: skip

__getattr__ = module_getattr("cntk.train.training_session")
