"""The Trainer: minibatch in, updated parameters and progress lines out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..internal.checks import required, typed, vector
from ..internal.evaluate import argument_map, feeds_of
from ..internal.infer import ALL_AXES
from ..internal.lower import Program, lower
from ..internal.missing import module_getattr
from ..internal.modelfile import dump_model, restore_model
from ..internal.opcodes import Op
from ..internal.proto import AxisValue, SizeT
from ..learners import Learner
from ..logging.progress_writer import ProgressWriter
from ..ops import combine
from ..ops.functions import CompositeFunction, Function, PrimitiveFunction, to_variable
from ..variables import Variable
from .checkpoint import from_dictionary_value, read_state, settle, to_dictionary_value, write_pair


_CHECKPOINT_VERSION = 1
_CHECKPOINT_KIND = "N4CNTK7TrainerE"


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _per_batch(value: torch.Tensor) -> torch.Tensor:
    return value.detach().sum()


class Trainer:
    """Trains `model` by minimising the sum over samples of the criterion's first part; the second is the
    metric."""

    def __init__(
        self,
        model: Function | None,
        criterion: Any,
        parameter_learners: Learner | Sequence[Learner],
        progress_writers: ProgressWriter | Sequence[ProgressWriter] | None = None,
    ):
        parts = tuple(criterion.outputs) if isinstance(criterion, Function) else tuple(criterion)
        if len(parts) not in (1, 2):
            raise ValueError(f"criterion must be a loss or a (loss, metric) pair, not {len(parts)} functions")
        for part in parts:
            if isinstance(part, str):
                raise TypeError(f"Object of type {type(part)} cannot be cast to Variable")
        self._loss = to_variable(parts[0])
        self._metric = to_variable(parts[1]) if len(parts) == 2 and parts[1] is not None else None
        self._loss_function, self._metric_function = parts[0], parts[1] if len(parts) == 2 else None
        self._model = model
        self._learners: list[Learner] = _as_list(parameter_learners)
        self._writers: list[ProgressWriter] = _as_list(progress_writers)
        self._check()
        results = [self._loss] + ([self._metric] if self._metric is not None else [])
        self._graph = combine(results if model is None else [*model.outputs, *results])
        for learner in self._learners:
            learner.add_progress_writers(self._writers)
        self._aggregates: list[CompositeFunction] | None = None
        self._last: tuple[int, torch.Tensor, torch.Tensor | None] | None = None

    def _check(self) -> None:
        if not self._learners:
            raise ValueError("These must be at least one learner.")
        if not all(isinstance(learner, Learner) for learner in self._learners) or not all(
            isinstance(writer, ProgressWriter) for writer in self._writers
        ):
            raise NotImplementedError(
                "Wrong number or type of arguments for overloaded function 'trainer_impl'."
            )
        seen: set[Variable] = set()
        inside = set(combine([self._loss]).parameters)
        if self._model is not None:
            inside.update(self._model.parameters)
        covered = [p for learner in self._learners for p in learner.parameters]
        for parameter in covered:
            if parameter in seen:
                raise ValueError(f"Parameter '{parameter!r}' is covered by 2 different learners")
            seen.add(parameter)
        foreign = [p for p in covered if p not in inside]
        if foreign:
            names = ", ".join(repr(p) for p in foreign)
            raise ValueError(
                f"Trainer ctor: {len(foreign)} of the learner parameters '{names}' are not part of the "
                "model specified"
            )

    # Properties
    @property
    def model(self) -> Function | None:
        return self._model

    @property
    def loss_function(self) -> Any:
        return self._loss_function

    @property
    def evaluation_function(self) -> Any:
        return self._metric_function

    @property
    def parameter_learners(self) -> list[Learner]:
        return self._learners

    @property
    def total_number_of_samples_seen(self) -> int:
        return self._learners[0].total_number_of_samples_seen()

    def _previous(self) -> tuple[int, torch.Tensor, torch.Tensor | None]:
        if self._last is None:
            raise RuntimeError("There was no preceding call to TrainMinibatch or the minibatch was empty.")
        return self._last

    @property
    def previous_minibatch_sample_count(self) -> int:
        return 0 if self._last is None else self._last[0]

    @property
    def previous_minibatch_loss_average(self) -> float:
        samples, loss, _ = self._previous()
        return loss.item() / samples

    @property
    def previous_minibatch_evaluation_average(self) -> float:
        samples, _, metric = self._previous()
        if metric is None:
            raise RuntimeError(
                "Trainer::PreviousMinibatchEvaluationAverage: no evaluation function was specified"
            )
        return metric.item() / samples

    # Work
    def _run(
        self, arguments: Any, outputs: list[Variable], training: bool
    ) -> tuple[Program, list[torch.Tensor]]:
        program = lower(self._graph, outputs, training)
        given = argument_map(self._graph, arguments)
        return program, program.run(feeds_of(program, given, outputs))

    def train_minibatch(
        self,
        arguments: Any,
        outputs: Sequence[Any] | None = None,
        device: Any = None,
        is_sweep_end: bool | None = None,
    ) -> Any:
        """One step; True while the learners go on.  With `outputs` also their values, by variable."""
        if len(arguments) == 0:
            return (False, {}) if outputs is not None else False
        wanted = [self._loss] + ([self._metric] if self._metric is not None else [])
        extra = [to_variable(v) for v in outputs or ()]
        program, values = self._run(arguments, wanted + extra, training=True)
        samples = len(values[0]) if self._loss.has_batch_axis() else 1
        if samples == 0:
            raise ValueError("Trainer: the minibatch has no samples.")
        total = values[0].sum()
        parameters = {p: i for i, p in enumerate(program.parameters)}
        gradients = torch.autograd.grad(total, [p.tensor for p in program.parameters], allow_unused=True)
        if is_sweep_end is None:
            data = arguments.values() if isinstance(arguments, dict) else ()
            is_sweep_end = any(getattr(value, "end_of_sweep", False) for value in data)

        proceed = False
        for learner in self._learners:
            of_learner = []
            for parameter in learner.parameters:
                gradient = gradients[parameters[parameter]] if parameter in parameters else None
                of_learner.append(torch.zeros_like(parameter.tensor) if gradient is None else gradient)
            proceed = learner.apply(of_learner, samples, is_sweep_end) or proceed

        loss = total.detach()
        metric = _per_batch(values[1]) if self._metric is not None else None
        self._last = (samples, loss, metric)
        for writer in reversed(self._writers):
            writer.update_training(samples, loss, metric)
        if outputs is None:
            return proceed
        rest = values[len(wanted) :]
        return proceed, {
            key: value.detach().cpu().contiguous().numpy().copy()
            for key, value in zip(outputs, rest, strict=True)
        }

    def test_minibatch(self, arguments: Any, device: Any = None) -> float:
        """The average metric over a minibatch."""
        if self._metric is None:
            raise ValueError(
                "Evaluator::TestMinibatch: Cannot test when no evaluation function was specified during "
                "construction."
            )
        with torch.no_grad():
            _, values = self._run(arguments, [self._metric], training=False)
        samples = len(values[0]) if self._metric.has_batch_axis() else 1
        if samples == 0:
            raise ValueError("Trainer: the minibatch has no samples.")
        metric = _per_batch(values[0])
        for writer in reversed(self._writers):
            writer.update_test(samples, metric)
        return metric.item() / samples

    # CNTK keeps its writers in a hash set and happens to go through them backwards.
    def summarize_training_progress(self) -> None:
        """Every writer writes its line about the epoch and starts a new one."""
        for writer in reversed(self._writers):
            writer.write_training_summary()

    def summarize_test_progress(self) -> None:
        for writer in reversed(self._writers):
            writer.write_test_summary()

    # Checkpoints
    def _stored_graph(self) -> CompositeFunction:
        """What a checkpoint's model file holds: the outputs with loss and metric, and their sums."""
        if self._aggregates is None:
            self._aggregates = [_batch_sum(self._loss, "aggregateLoss")]
            if self._metric is not None:
                self._aggregates.append(_batch_sum(self._metric, "aggregateEvalMetric"))
        parts = [] if self._model is None else list(self._model.outputs)
        for value, total in zip((self._loss, self._metric), self._aggregates, strict=False):
            parts += [value, total.output]
        return combine(parts)

    def save_checkpoint(self, filename: str, external_state: dict[str, Any] | None = None) -> None:
        """Write `filename` (a model) and `filename`.ckp; `external_state` is given back when restoring.

        Raises ValueError for state that the format cannot hold, RuntimeError when a file cannot be written.
        """
        state = {
            "Version": SizeT(_CHECKPOINT_VERSION),
            "Learners": [learner.create_checkpoint() for learner in self._learners],
            "ExternalState": to_dictionary_value(dict(external_state or {})),
            "DistributedState": {},
        }
        write_pair(filename, dump_model(self._stored_graph().root_function), state)

    def restore_from_checkpoint(self, filename: str) -> Any:
        """Continue from a checkpoint; returns its external state.

        Raises RuntimeError for files that are missing or damaged, ValueError for those of another graph.
        Nothing has changed then.
        """
        settle(Path(filename))
        restore = restore_model(self._stored_graph(), filename, check_only=True)
        state = read_state(filename)
        stored = vector(required(state, "Learners", _CHECKPOINT_KIND, _CHECKPOINT_VERSION), dict)
        external = typed(state.get("ExternalState", {}), dict)
        if len(stored) != len(self._learners):
            raise RuntimeError(
                f"Trainer::RestoreFromCheckpoint: {len(stored)} learners in the checkpoint, but "
                f"{len(self._learners)} in this trainer."
            )
        before = [learner.create_checkpoint() for learner in self._learners]
        try:
            for learner, dictionary in zip(self._learners, stored, strict=True):
                learner.restore_from_checkpoint(dictionary)
        except Exception:
            for learner, dictionary in zip(self._learners, before, strict=True):
                learner.restore_from_checkpoint(dictionary)
            raise
        restore()
        self._last = None
        return from_dictionary_value(external)


def _batch_sum(value: Variable, name: str) -> CompositeFunction:
    attributes = {
        "axis": AxisValue(ALL_AXES, "AllAxes", False),
        "reductionOpName": "Sum",
        "reductionKeepDimensions": False,
    }
    return PrimitiveFunction(Op.ReduceElements, [value], attributes, name).composite()


__getattr__ = module_getattr("cntk.train.trainer")
