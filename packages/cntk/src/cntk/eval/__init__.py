"""Evaluating a metric over minibatches."""

from ..internal.missing import module_getattr
from .evaluator import Evaluator

__all__ = ["Evaluator"]

__getattr__ = module_getattr("cntk.eval")
