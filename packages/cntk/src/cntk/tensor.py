"""The operators on anything that stands for a tensor."""

from __future__ import annotations

from .internal.missing import module_getattr
from .internal.operators import TensorOpsMixin

__all__ = ["TensorOpsMixin"]

__getattr__ = module_getattr("cntk.tensor")
