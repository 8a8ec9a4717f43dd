"""Training loops."""

from ..internal.missing import module_getattr
from . import distributed as distributed
from .distributed import (
    Communicator,
    DistributedLearner,
    WorkerDescriptor,
    block_momentum_distributed_learner,
    data_parallel_distributed_learner,
    mpi_communicator,
)
from .trainer import Trainer
from .training_session import (
    CheckpointConfig,
    CrossValidationConfig,
    DataUnit,
    TestConfig,
    TrainingSession,
    minibatch_size_schedule,
    training_session,
)

__all__ = [
    "CheckpointConfig",
    "Communicator",
    "CrossValidationConfig",
    "DataUnit",
    "DistributedLearner",
    "TestConfig",
    "Trainer",
    "TrainingSession",
    "WorkerDescriptor",
    "block_momentum_distributed_learner",
    "data_parallel_distributed_learner",
    "minibatch_size_schedule",
    "mpi_communicator",
    "training_session",
]

__getattr__ = module_getattr("cntk.train")
