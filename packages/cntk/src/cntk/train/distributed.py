"""Distributed training: the communicator and the learners that work together with other processes."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch

from ..device import torch_device
from ..internal import workers
from ..internal.checks import required, typed, vector
from ..internal.missing import module_getattr
from ..internal.proto import SizeT
from ..learners import Learner
from ..variables import Parameter


@dataclass
class MinibatchInfo:
    """What happened in a minibatch; a distributed learner turns it into what happened in all of them."""

    samples: int
    sweep_end: bool
    loss: torch.Tensor  # sums over the samples, left on the device
    metric: torch.Tensor | None


@dataclass(frozen=True)
class WorkerDescriptor:
    """One of the processes."""

    global_rank: int
    host_id: str

    m_global_rank = property(lambda self: self.global_rank)
    m_host_id = property(lambda self: self.host_id)

    def is_main(self) -> bool:
        return self.global_rank == 0


class Communicator:
    """The processes of this training; a single one when no launcher says otherwise."""

    @staticmethod
    def rank() -> int:
        """This process's number, from 0."""
        return workers.place().rank

    @staticmethod
    def num_workers() -> int:
        """How many processes there are."""
        return workers.place().size

    @staticmethod
    def finalize() -> None:
        """Leave the others; to be called by every process when the training is over."""
        workers.disconnect()

    def is_main(self) -> bool:
        """Whether this is the process that writes the files."""
        return self.rank() == 0

    def barrier(self) -> None:
        """Wait until every process has come here."""
        workers.barrier()

    def workers(self) -> list[WorkerDescriptor]:
        """All processes, in the order of their ranks."""
        hosts = workers.gather_bytes(socket.gethostname().encode())
        return [WorkerDescriptor(rank, host.decode(errors="replace")) for rank, host in enumerate(hosts)]

    def current_worker(self) -> WorkerDescriptor:
        """This process."""
        return WorkerDescriptor(self.rank(), socket.gethostname())


def mpi_communicator() -> Communicator:
    """A communicator of all processes."""
    workers.connect()
    return Communicator()


class DistributedLearner:
    """A learner whose updates take the other workers into account."""

    def __init__(self, learner: Learner, distributed_after: int):
        if not isinstance(learner, Learner):
            raise NotImplementedError(
                "Wrong number or type of arguments for overloaded function "
                "'create_data_parallel_distributed_learner'."
            )
        if distributed_after < 0:
            raise OverflowError("distributed_after must not be negative")
        workers.connect()
        self._learner = learner
        self._after = int(distributed_after)
        self._samples = 0  # of all workers
        self._aggregates = False

    def set_as_metric_aggregator(self) -> None:
        """Let this one of several distributed learners average the loss and the metric over the workers."""
        self._aggregates = True

    def is_metric_aggregator(self) -> bool:
        return self._aggregates

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self._learner.parameters

    @property
    def minibatch_size(self) -> int | None:
        return self._learner.minibatch_size

    def communicator(self) -> Communicator:
        return Communicator()

    get_communicator = communicator

    def parallelization_after(self) -> int:
        """The number of samples after which the workers begin to work together."""
        return self._after

    def minibatch_size_scale_factor(self) -> int:
        """How many times the minibatch size all workers together take."""
        return 1

    def partition(self) -> tuple[int, int]:
        """(workers, rank) among which a minibatch is shared out now."""
        if self._samples < self._after:
            return 1, 0
        return Communicator.num_workers(), Communicator.rank()

    def total_number_of_samples_seen(self) -> int:
        return self._samples

    def total_number_of_minibatches_seen(self) -> int:
        return self._learner.total_number_of_minibatches_seen()

    def total_number_of_sweeps_seen(self) -> int:
        return self._learner.total_number_of_sweeps_seen()

    def learning_rate(self) -> float:
        return self._learner.learning_rate()

    def reset_learning_rate(self, learning_rate: Any) -> None:
        self._learner.reset_learning_rate(learning_rate)

    def reset_smoothed_gradients(self) -> None:
        self._learner.reset_smoothed_gradients()

    def is_compatible_mode(self) -> bool:
        return self._learner.is_compatible_mode()

    def add_progress_writers(self, writers: Sequence[Any]) -> None:
        """CNTK prints no rates under a distributed learner."""

    def step(self, gradients: list[torch.Tensor], info: MinibatchInfo) -> bool:
        """Update from the local gradients (sums; none when this worker had no data).

        `info` becomes that of all workers where they work together at every minibatch.
        """
        raise NotImplementedError

    def average_progress(self, loss: float, metric: float) -> tuple[float, float]:
        """Averages since the last summary, over all workers where `step` leaves them apart."""
        return loss, metric

    # Checkpoints
    def create_checkpoint(self) -> dict[str, Any]:
        return {
            "localLearners": self._learner.create_checkpoint(),
            "totalNumberOfSamplesSeen": SizeT(self._samples),
        }

    def restore_from_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises RuntimeError for a dictionary of something else."""
        # A checkpoint of the learner by itself serves as well: training goes on with more processes.
        wrapped = "localLearners" in typed(checkpoint, dict)
        local = typed(checkpoint["localLearners"], dict) if wrapped else checkpoint
        samples = int(
            typed(required(checkpoint, "totalNumberOfSamplesSeen", "", 0), SizeT, int)
            if wrapped
            else typed(required(local, "sample_count", "", 0), SizeT, int)
        )
        self._learner.restore_from_checkpoint(local)
        self._samples = samples


class DataParallelLearner(DistributedLearner):
    """Sums gradients, losses and counts over all workers at every minibatch."""

    def step(self, gradients: list[torch.Tensor], info: MinibatchInfo) -> bool:
        if not gradients:
            gradients = [torch.zeros_like(p.tensor, requires_grad=False) for p in self.parameters]
        if self._samples >= self._after and Communicator.num_workers() > 1:
            summed = [gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients]
            loss = info.loss.clone().reshape(())
            metric = None if info.metric is None else info.metric.clone().reshape(())
            # The end of a sweep is the first worker's: it must be told the same to all.
            first = info.sweep_end and Communicator.rank() == 0
            counts = torch.tensor([float(info.samples), float(first)], dtype=loss.dtype, device=loss.device)
            workers.sum_in_place([*summed, loss, counts, *([] if metric is None else [metric])])
            gradients = summed
            info.loss, info.metric = loss, metric
            info.samples, info.sweep_end = int(counts[0].item()), bool(counts[1].item())
        self._samples += info.samples
        if not info.samples:
            return False
        return self._learner.apply(gradients, info.samples, info.sweep_end)


class _Action(IntEnum):
    """What a worker wants to do next together with the others."""

    WAIT = 0
    AGGREGATE = 1
    AVERAGE_PROGRESS = 2
    CHECKPOINT = 3
    STOP = 4


class BlockMomentumLearner(DistributedLearner):
    """Every worker trains by itself for a block of samples; then the models' changes are averaged and
    filtered by a momentum of their own (Chen and Huo, 2016).

    The workers may reach the end of their data, a summary or a checkpoint at different times.  Before doing
    anything together they tell each other what they want: a block's end comes first and everybody joins in;
    a checkpoint waits for everybody; the end is reached when all have.
    """

    def __init__(
        self,
        learner: Learner,
        distributed_after: int,
        block_size: int,
        time_constant: float | None,
        nesterov: bool,
        reset_momentum: bool,
        block_learning_rate: float,
    ):
        super().__init__(learner, distributed_after)
        count = Communicator.num_workers()
        if block_size // count == 0:
            raise ValueError("Sync period is too small.")
        if time_constant is None:
            momentum = 1.0 - 1.0 / count
            time_constant = -block_size / math.log(momentum) if momentum > 0.0 else 0.0
        self._period = block_size // count
        self._constant = time_constant / count
        self._nesterov, self._reset, self._rate = nesterov, reset_momentum, block_learning_rate
        self._in_block = self._local_samples = 0
        self._begin: list[torch.Tensor] | None = None  # the parameters at the beginning of the block
        self._smoothed: list[torch.Tensor] | None = None

    def minibatch_size_scale_factor(self) -> int:
        return Communicator.num_workers()

    def _values(self) -> list[torch.Tensor]:
        return [p.tensor.detach() for p in self.parameters]

    def _begun(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        if self._begin is None:
            self._begin = [value.clone() for value in self._values()]
        if self._smoothed is None:
            self._smoothed = [torch.zeros_like(value) for value in self._values()]
        return self._begin, self._smoothed

    def step(self, gradients: list[torch.Tensor], info: MinibatchInfo) -> bool:
        self._begun()
        if info.samples:
            self._learner.apply(gradients, info.samples, info.sweep_end)
        self._local_samples += info.samples
        self._samples += info.samples
        ended = not info.samples
        if self._samples < self._after:
            return not ended
        if ended:
            return self._stop()
        self._in_block += info.samples
        if self._in_block >= self._period:
            self._agree(_Action.AGGREGATE)
            self._aggregate()
        return True

    def _agree(self, mine: _Action) -> _Action:
        """What to do now, given what all want."""
        told = workers.gather_numbers([float(mine), float(self._local_samples)])
        self._samples = int(sum(samples for _, samples in told))
        wanted = {_Action(int(action)) for action, _ in told}
        if wanted == {mine}:
            return mine
        if _Action.AGGREGATE in wanted:
            return _Action.AGGREGATE
        # Summaries, checkpoints and ends meet.  Nobody averages progress then; ends let checkpoints pass.
        if mine is _Action.CHECKPOINT:
            return _Action.WAIT
        if mine is _Action.STOP:
            return _Action.CHECKPOINT if _Action.CHECKPOINT in wanted else _Action.WAIT
        return _Action.STOP if _Action.STOP in wanted else _Action.CHECKPOINT

    def _stop(self) -> bool:
        while (action := self._agree(_Action.STOP)) is not _Action.STOP:
            if action is _Action.AGGREGATE:
                self._aggregate()
            elif action is _Action.CHECKPOINT:
                return True  # another worker saves: this one is asked to as well
        self._aggregate()
        return False

    def _aggregate(self) -> None:
        """The end of a block."""
        begin, smoothed = self._begun()
        values = self._values()
        momentum = 0.0 if self._constant == 0 else math.exp(-self._in_block / self._constant)
        change = list(torch._foreach_sub(begin, values))
        workers.sum_in_place(change)
        torch._foreach_mul_(smoothed, momentum)
        torch._foreach_add_(smoothed, change, alpha=(1.0 - momentum) * self._rate)
        for value, old, step in zip(values, begin, smoothed, strict=True):
            value.copy_(old - step)
            if self._nesterov:
                value.sub_(step, alpha=momentum)
            old.copy_(value)
        self._in_block = 0
        if self._reset:
            self._learner.reset_smoothed_gradients()

    def average_progress(self, loss: float, metric: float) -> tuple[float, float]:
        if Communicator.num_workers() == 1:
            return loss, metric
        while (action := self._agree(_Action.AVERAGE_PROGRESS)) is not _Action.AVERAGE_PROGRESS:
            if action is not _Action.AGGREGATE:
                return loss, metric
            self._aggregate()
        told = workers.gather_numbers([loss, metric])
        return sum(v[0] for v in told) / len(told), sum(v[1] for v in told) / len(told)

    def create_checkpoint(self) -> dict[str, Any]:
        while (action := self._agree(_Action.CHECKPOINT)) is not _Action.CHECKPOINT:
            if action is _Action.AGGREGATE:
                self._aggregate()
        # A checkpoint is the end of a block, so that there is no block to be saved.
        self._aggregate()
        _, smoothed = self._begun()
        return {
            "base": super().create_checkpoint(),
            "localTotalNumSamplesSeen": SizeT(self._local_samples),
            "blockLevelSmoothedGradient": [t.cpu().contiguous().numpy().copy() for t in smoothed],
        }

    def restore_from_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        stored = vector(required(checkpoint, "blockLevelSmoothedGradient", "", 0), np.ndarray)
        if [a.shape for a in stored] != [p.shape for p in self.parameters]:
            raise RuntimeError("Inconsistent parameter size between learner and checkpoint")
        samples = int(typed(required(checkpoint, "localTotalNumSamplesSeen", "", 0), SizeT, int))
        super().restore_from_checkpoint(typed(required(checkpoint, "base", "", 0), dict))
        self._local_samples, self._in_block, self._begin = samples, 0, None
        self._smoothed = [
            torch.tensor(array, dtype=p.tensor.dtype, device=torch_device())
            for array, p in zip(stored, self.parameters, strict=True)
        ]


def data_parallel_distributed_learner(
    learner: Learner,
    distributed_after: int = 0,
    num_quantization_bits: int = 32,
    use_async_buffered_parameter_update: bool = False,
) -> DistributedLearner:
    """Data-parallel training: the minibatch size is that of all workers together.

    Quantised gradients and buffered updates were there to save network time; they are accepted, and the exact
    gradients sent.
    """
    return DataParallelLearner(learner, distributed_after)


def block_momentum_distributed_learner(
    learner: Learner,
    block_size: int,
    block_momentum_as_time_constant: float | None = None,
    use_nestrov_momentum: bool = True,
    reset_sgd_momentum_after_aggregation: bool = True,
    block_learning_rate: float = 1.0,
    distributed_after: int = 0,
) -> DistributedLearner:
    """Block momentum: workers train apart and synchronise every `block_size` samples (of all together).

    Raises ValueError when a block is smaller than the number of workers.
    """
    return BlockMomentumLearner(
        learner,
        distributed_after,
        block_size,
        block_momentum_as_time_constant,
        use_nestrov_momentum,
        reset_sgd_momentum_after_aggregation,
        block_learning_rate,
    )


__all__ = [
    "Communicator", "DistributedLearner", "WorkerDescriptor", "block_momentum_distributed_learner",
    "data_parallel_distributed_learner", "mpi_communicator",
]  # fmt: skip

__getattr__ = module_getattr("cntk.train.distributed")
