"""`Function.train` and `Function.test`: a trainer and a session around a criterion, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..eval.evaluator import Evaluator, as_list
from ..io import INFINITELY_REPEAT, MinibatchSourceFromData
from ..logging.progress_writer import ProgressWriter
from ..ops.functions import Function
from ..variables import Record
from .trainer import Trainer
from .training_session import (
    CheckpointConfig,
    CrossValidationConfig,
    MinibatchSizeSchedule,
    TestConfig,
    from_data,
    minibatch_size_schedule,
    training_session,
)


class _Collector(ProgressWriter):
    """Keeps what other writers print."""

    def __init__(self, freq: int | None):
        super().__init__(freq, 0, None, 0, None, 0)
        self.updates: list[Record] = []
        self.summaries: list[Record] = []
        self.tests: list[Record] = []

    def on_write_training_update(
        self, samples: Any, updates: Any, aggregate_loss: Any, aggregate_metric: Any
    ) -> None:
        count = samples[1] - samples[0]
        loss = (aggregate_loss[1] - aggregate_loss[0]) / count
        metric = (aggregate_metric[1] - aggregate_metric[0]) / count
        self.updates.append(Record(loss=loss, metric=metric, samples=count))

    def on_write_training_summary(
        self, samples: int, updates: int, summaries: int, aggregate_loss: float, aggregate_metric: float,
        elapsed_milliseconds: int,
    ) -> None:  # fmt: skip
        if samples:
            self.summaries.append(
                Record(loss=aggregate_loss / samples, metric=aggregate_metric / samples, samples=samples)
            )

    def on_write_test_summary(
        self, samples: int, updates: int, summaries: int, aggregate_metric: float, elapsed_milliseconds: int
    ) -> None:
        metric = aggregate_metric / samples if samples else 0.0
        self.tests.append(Record(metric=metric, samples=samples))


def _one(callbacks: Sequence[Any], kind: type) -> Any:
    found = [callback for callback in callbacks if isinstance(callback, kind)]
    if len(found) > 1:
        raise ValueError(f"only one {kind.__name__} callback is possible")
    return found[0] if found else None


def _schedule(minibatch_size: Any) -> MinibatchSizeSchedule:
    if minibatch_size is None:
        raise ValueError("minibatch_size must not be None.")
    if not isinstance(minibatch_size, (int, MinibatchSizeSchedule)):
        raise ValueError(
            "minibatch_size must be an int or the result an call to the minibatch_size_schedule() function"
        )
    return minibatch_size_schedule(minibatch_size)


def train(
    criterion: Function,
    minibatch_source: Any,
    minibatch_size: Any = 32,
    streams: Any = None,
    model_inputs_to_streams: Any = None,
    parameter_learners: Any = (),
    callbacks: Any = (),
    progress_frequency: Any = None,
    max_epochs: int | None = None,
    epoch_size: int | None = None,
    max_samples: int | None = None,
) -> Record:
    """See `Function.train`."""
    schedule = _schedule(minibatch_size)
    mapping = streams if model_inputs_to_streams is None else model_inputs_to_streams
    source, inputs = from_data(minibatch_source, mapping, criterion.arguments)
    if max_samples is None:
        if epoch_size is None and isinstance(source, MinibatchSourceFromData):
            epoch_size = source.samples_per_sweep
        if max_epochs is not None and epoch_size is not None:
            max_samples = int(min(max_epochs * epoch_size, INFINITELY_REPEAT))
    if progress_frequency is None:
        progress_frequency = epoch_size
    every = progress_frequency // schedule[0] if isinstance(progress_frequency, int) else None
    collector = _Collector(every or None)
    given = as_list(callbacks)
    writers = [callback for callback in given if isinstance(callback, ProgressWriter)]
    trainer = Trainer(None, criterion, parameter_learners, [*writers, collector])
    training_session(
        trainer=trainer,
        mb_source=source,
        mb_size=schedule,
        model_inputs_to_streams=inputs,
        progress_frequency=progress_frequency,
        max_samples=max_samples,
        checkpoint_config=_one(given, CheckpointConfig),
        cv_config=_one(given, CrossValidationConfig),
        test_config=_one(given, TestConfig),
    ).train()
    nothing = [Record(loss=0.0, metric=0.0, samples=0)]
    result = Record(
        updates=collector.updates if collector.summaries else nothing,
        epoch_summaries=collector.summaries or nothing,
    )
    return result.updated_with(test_summary=collector.tests[-1]) if collector.tests else result


def evaluate(
    criterion: Function,
    minibatch_source: Any,
    minibatch_size: Any = 32,
    streams: Any = None,
    model_inputs_to_streams: Any = None,
    callbacks: Any = None,
) -> Record:
    """See `Function.test`."""
    schedule = _schedule(minibatch_size)
    mapping = streams if model_inputs_to_streams is None else model_inputs_to_streams
    source, inputs = from_data(minibatch_source, mapping, criterion.arguments)
    limit = INFINITELY_REPEAT
    if isinstance(source, MinibatchSourceFromData):
        limit = source.samples_per_sweep
    elif source.is_infinite():
        raise ValueError("Test minibatch source must have a limited number of samples or sweeps.")
    collector = _Collector(None)
    writers = [callback for callback in as_list(callbacks) if isinstance(callback, ProgressWriter)]
    evaluator = Evaluator(criterion.outputs[-1], [*writers, collector])
    samples = 0
    while samples < limit:
        data = source.next_minibatch(min(schedule[samples], limit - samples))
        if not data:
            break
        minibatch = {variable: data[stream] for variable, stream in inputs.items()}
        samples += evaluator.evaluate_minibatch(minibatch)[1]
    evaluator.summarize_test_progress()
    return collector.tests[-1]
