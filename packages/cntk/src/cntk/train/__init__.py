"""Training loops."""

from ..internal.missing import module_getattr
from .trainer import Trainer
from .training_session import minibatch_size_schedule

__all__ = ["Trainer", "minibatch_size_schedule"]

__getattr__ = module_getattr("cntk.train")
