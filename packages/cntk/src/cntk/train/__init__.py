"""Training loops."""

from ..internal.missing import module_getattr
from .trainer import Trainer

__all__ = ["Trainer"]

__getattr__ = module_getattr("cntk.train")
