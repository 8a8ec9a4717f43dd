"""cntk.ops.functions: the classes of functions and how they are made."""

from __future__ import annotations

from typing import Any

from ..internal.missing import module_getattr
from .base import CloneMethod, Function, ModelFormat
from .nodes import CompositeFunction, PrimitiveFunction
from .tracing import BlockFunction, as_block, make_block, to_variable
from .user import UserFunction, user_function


def load_model(model: Any, device: Any = None, format: ModelFormat = ModelFormat.CNTKv2) -> Function:
    return Function.load(model, device, format)


__all__ = [
    "BlockFunction",
    "CloneMethod",
    "CompositeFunction",
    "Function",
    "ModelFormat",
    "PrimitiveFunction",
    "UserFunction",
    "as_block",
    "load_model",
    "make_block",
    "to_variable",
    "user_function",
]

__getattr__ = module_getattr("cntk.ops.functions")
