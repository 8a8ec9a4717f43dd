"""The Trainer: minibatch in, updated parameters and progress lines out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..device import torch_device
from ..eval.evaluator import Evaluator, as_list
from ..internal import proto, workers
from ..internal.checks import required, typed, vector
from ..internal.evaluate import argument_map, batch_sum, feeds_of, sample_count
from ..internal.graph import preorder
from ..internal.infer import ALL_AXES
from ..internal.lower import lower
from ..internal.missing import module_getattr
from ..internal.modelfile import dump_model, restore_model
from ..internal.opcodes import Op
from ..internal.proto import AxisValue, SizeT
from ..learners import Learner
from ..logging.progress_writer import Progress, ProgressWriter
from ..ops import combine
from ..ops.functions import CompositeFunction, Function, PrimitiveFunction, to_variable
from ..variables import Variable
from .checkpoint import from_dictionary_value, read_state, settle, to_dictionary_value, write_pair
from .distributed import DistributedLearner, MinibatchInfo

AnyLearner = Learner | DistributedLearner
_CHECKPOINT_VERSION = 1
_CHECKPOINT_KIND = "N4CNTK7TrainerE"


class Trainer(Evaluator):
    """Trains `model` by minimising the sum over samples of the criterion's first part; the second is the
    metric.

    `model` may be None when only the criterion matters.  Raises ValueError for parameters that are no part of
    the graph or covered by two learners.
    """

    def __init__(
        self,
        model: Function | Variable | None,
        criterion: Any,
        parameter_learners: AnyLearner | Sequence[AnyLearner],
        progress_writers: ProgressWriter | Sequence[ProgressWriter] | None = None,
    ):
        parts = tuple(criterion.outputs) if isinstance(criterion, Function) else tuple(criterion)
        if len(parts) not in (1, 2):
            raise ValueError(f"criterion must be a loss or a (loss, metric) pair, not {len(parts)} functions")
        for part in parts:
            if isinstance(part, str):
                raise TypeError(f"Object of type {type(part)} cannot be cast to Variable")
        super().__init__(parts[1] if len(parts) == 2 else None, progress_writers)
        self._loss = to_variable(parts[0])
        self._loss_function = parts[0]
        if isinstance(model, Variable):  # one of several outputs of a function
            model = combine([model])
        self._model = model
        self._learners: list[Any] = as_list(parameter_learners)
        self._check()
        results = [self._loss] + ([self._metric] if self._metric is not None else [])
        self._graph: CompositeFunction = combine(results if model is None else [*model.outputs, *results])
        self._criterion = combine(results)
        self._counted = _counted_by(self._loss)
        distributed = [learner for learner in self._learners if isinstance(learner, DistributedLearner)]
        distributed.sort(key=lambda learner: not learner.is_metric_aggregator())  # the first one averages
        if distributed and len(distributed) != len(self._learners):
            raise ValueError("Trainer: either all learners are distributed learners or none is.")
        self._distributed = distributed
        for learner in self._learners:
            learner.add_progress_writers(self._writers)
        self._aggregates: list[CompositeFunction] | None = None
        self._last: MinibatchInfo | None = None
        self._synced_at = 0
        self._progress = Progress()

    def _check(self) -> None:
        if not self._learners:
            raise ValueError("These must be at least one learner.")
        if not all(
            isinstance(learner, (Learner, DistributedLearner)) for learner in self._learners
        ) or not all(isinstance(writer, ProgressWriter) for writer in self._writers):
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
    def parameter_learners(self) -> list[Any]:
        return self._learners

    def criterion_arguments(self) -> tuple[Variable, ...]:
        """The arguments of loss and metric, in their order."""
        return self._criterion.arguments

    @property
    def total_number_of_samples_seen(self) -> int:
        return int(self._learners[0].total_number_of_samples_seen())

    def total_number_of_units_seen(self, unit: Any) -> int:
        """Samples, minibatches or sweeps (a `DataUnit`)."""
        first = self._learners[0]
        counts = {
            "sample": first.total_number_of_samples_seen,
            "minibatch": first.total_number_of_minibatches_seen,
            "sweep": first.total_number_of_sweeps_seen,
        }
        return int(counts[unit.name]())

    def _previous(self) -> MinibatchInfo:
        if self._last is None or not self._last.samples:
            raise RuntimeError("There was no preceding call to TrainMinibatch or the minibatch was empty.")
        return self._last

    @property
    def previous_minibatch_sample_count(self) -> int:
        return 0 if self._last is None else self._last.samples

    @property
    def previous_minibatch_loss_average(self) -> float:
        info = self._previous()
        return info.loss.item() / info.samples

    @property
    def previous_minibatch_evaluation_average(self) -> float:
        info = self._previous()
        if info.metric is None:
            raise RuntimeError(
                "Trainer::PreviousMinibatchEvaluationAverage: no evaluation function was specified"
            )
        return info.metric.item() / info.samples

    def partition(self) -> tuple[int, int]:
        """(workers, rank) among which minibatches are shared out now: (1, 0) without distribution."""
        return self._distributed[0].partition() if self._distributed else (1, 0)

    def minibatch_scale(self) -> int:
        """How many times the minibatch size of a session all workers together take now."""
        if self.partition()[0] == 1:
            return 1
        return self._distributed[0].minibatch_size_scale_factor()

    # Work
    def train_minibatch(
        self,
        arguments: Any,
        outputs: Sequence[Any] | None = None,
        device: Any = None,
        is_sweep_end: bool | None = None,
    ) -> Any:
        """One step; True while the learners go on.  With `outputs` also their values, by variable.

        `arguments`: arrays or `MinibatchData` by variable; an empty dictionary means that there is no (local)
        data.  Raises ValueError for arguments that are missing or do not fit, and for outputs that are no
        part of the trained graph.
        """
        empty = len(arguments) == 0
        extra = [self._inside(to_variable(v)) for v in outputs or ()]
        if empty and not self._distributed:
            self._last = None
            return (False, {}) if outputs is not None else False
        if is_sweep_end is None:
            data = arguments.values() if isinstance(arguments, dict) else ()
            is_sweep_end = any(getattr(value, "end_of_sweep", False) for value in data)
        if empty:
            zero = torch.zeros((), device=torch_device())
            info = MinibatchInfo(0, is_sweep_end, zero, None if self._metric is None else zero)
            gradients: list[list[torch.Tensor]] = [[] for _ in self._learners]
            rest: list[torch.Tensor] = []
        else:
            info, gradients, rest = self._differentiate(arguments, extra, is_sweep_end)
        local, before = info.samples, self.total_number_of_samples_seen
        proceed = False
        for learner, of_learner in zip(self._learners, gradients, strict=True):
            if isinstance(learner, DistributedLearner):
                proceed = learner.step(of_learner, info) or proceed
            else:
                proceed = learner.apply(of_learner, info.samples, info.sweep_end) or proceed
        self._last = info
        if self._distributed:
            self._progress.add(info.samples, info.loss, info.metric)
            seen = self.total_number_of_samples_seen
            if seen - before > local:
                for writer in reversed(self._writers):
                    writer.update_distributed_sync(seen - self._synced_at)
                self._synced_at = seen
        if info.samples:
            for writer in reversed(self._writers):
                writer.update_training(info.samples, info.loss, info.metric)
        if outputs is None:
            return proceed
        return proceed, {
            key: value.detach().cpu().contiguous().numpy().copy()
            for key, value in zip(outputs, rest, strict=not empty)
        }

    def _inside(self, variable: Variable) -> Variable:
        inside = variable.owner is None or variable.owner in set(preorder(self._graph.root_function))
        if not inside:
            stored = self._stored_graph()
            raise ValueError(
                f"One of the requested outputs '{variable!r}' for the Function '{stored!r}' forward "
                "computation is not part of the graph underlying the Function."
            )
        return variable

    def _differentiate(
        self, arguments: Any, extra: list[Variable], is_sweep_end: bool
    ) -> tuple[MinibatchInfo, list[list[torch.Tensor]], list[torch.Tensor]]:
        """Forward and backward: what happened, a gradient (a sum) per learner's parameter, more outputs."""
        wanted = [self._loss] + ([self._metric] if self._metric is not None else [])
        if self._counted is not self._loss:
            wanted.append(self._counted)
        program = lower(self._graph, wanted + extra, training=True)
        given = argument_map(self._graph, arguments)
        if any(variable not in given for variable in program.arguments):
            feeds_of(program, given, self._reported())
        feeds = feeds_of(program, given, wanted)
        # Inputs that want a gradient get one, as in CNTK: functions that users wrote see it pass.
        sources = [p.tensor for p in program.parameters]
        for variable in program.arguments:
            if variable.needs_gradient:
                feeds[variable] = feeds[variable].detach().requires_grad_()
                sources.append(feeds[variable])
        run = program.execute(feeds)
        values = run.values
        counted = 0 if self._counted is self._loss else len(wanted) - 1
        samples = sample_count(self._counted, values[counted], run.layouts[counted])
        if samples == 0:
            raise ValueError("Trainer: the minibatch has no samples.")
        total = batch_sum(values[0], run.layouts[0])
        found = torch.autograd.grad(total, sources, allow_unused=True)
        by_parameter = dict(zip(program.parameters, found, strict=False))
        gradients = []
        for learner in self._learners:
            of_learner = []
            for parameter in learner.parameters:
                gradient = by_parameter.get(parameter)
                of_learner.append(torch.zeros_like(parameter.tensor) if gradient is None else gradient)
            gradients.append(of_learner)
        metric = None
        if self._metric is not None:
            metric = batch_sum(values[1].detach(), run.layouts[1])
        return MinibatchInfo(samples, is_sweep_end, total.detach(), metric), gradients, values[len(wanted) :]

    def _reported(self) -> list[Variable]:
        """The outputs that CNTK's message about missing arguments names."""
        self._stored_graph()
        assert self._aggregates is not None
        return [self._loss, *(total.output for total in reversed(self._aggregates))]

    def evaluate_minibatch(self, arguments: Any, distributed: bool = False) -> tuple[float, int]:
        """(sum of the metric, number of samples); with `distributed` over all workers."""
        if not distributed or self.partition()[0] == 1:
            return super().evaluate_minibatch(arguments)
        metric, samples = (0.0, 0) if len(arguments) == 0 else self._metric_sum(arguments)
        told = workers.gather_numbers([float(metric), float(samples)])
        total, count = sum(v[0] for v in told), int(sum(v[1] for v in told))
        if count:
            for writer in reversed(self._writers):
                writer.update_test(count, total)
        return total, count

    def summarize_training_progress(self) -> None:
        """Every writer writes its line about the epoch and starts a new one."""
        averages = None
        if self._distributed:
            progress, self._progress = self._progress, Progress()
            averages = self._distributed[0].average_progress(*progress.averages())
        for writer in reversed(self._writers):
            writer.write_training_summary(averages)

    # Checkpoints
    def _stored_graph(self) -> CompositeFunction:
        """What a checkpoint's model file holds: the outputs with loss and metric, and their sums."""
        if self._aggregates is None:
            self._aggregates = [_batch_sum(self._loss, "aggregateLoss")]
            if self._metric is not None:
                self._aggregates.append(_batch_sum(self._metric, "aggregateEvalMetric"))
        parts = [] if self._model is None else list(self._model.outputs)
        values = [self._loss] + ([self._metric] if self._metric is not None else [])
        for value, total in zip(values, self._aggregates, strict=True):
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
        if not self._distributed:
            write_pair(filename, dump_model(self._stored_graph().root_function), state)
            return
        own = proto.dump({"external_worker_state": state["ExternalState"], "internal_worker_state": {}})
        states = workers.gather_bytes(own)
        state["DistributedState"] = {str(rank): proto.load(data) for rank, data in enumerate(states)}
        if workers.place().rank == 0:
            write_pair(filename, dump_model(self._stored_graph().root_function), state)
        workers.barrier()  # nobody reads it before it is there

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
        of_workers = typed(state.get("DistributedState", {}), dict)
        rank, size = workers.place().rank, workers.place().size
        if self._distributed and len(of_workers) == size > 1 and str(rank) in of_workers:
            own = typed(of_workers[str(rank)], dict)
            external = typed(own.get("external_worker_state", {}), dict)
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


def _counted_by(loss: Variable) -> Variable:
    """What a minibatch's samples are counted by: the loss, or, when that is one number for the whole
    minibatch, the first value below it that has a batch axis."""
    if loss.has_batch_axis() or loss.owner is None:
        return loss
    operands = (v for function in preorder(loss.owner) for v in function.inputs)
    return next((v for v in operands if v.has_batch_axis()), loss)


def _batch_sum(value: Variable, name: str) -> CompositeFunction:
    attributes = {
        "axis": AxisValue(ALL_AXES, "AllAxes", False),
        "reductionOpName": "Sum",
        "reductionKeepDimensions": False,
    }
    return PrimitiveFunction(Op.ReduceElements, [value], attributes, name).composite()


__getattr__ = module_getattr("cntk.train.trainer")
