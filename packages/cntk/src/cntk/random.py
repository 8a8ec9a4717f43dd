"""Random numbers in the graph: a new draw at every evaluation, from a generator of the operation's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .default_options import default_override_or, get_default_override
from .internal.missing import module_getattr
from .internal.opcodes import Op
from .internal.proto import Shape, SizeT
from .internal.uids import AUTO_SEED as auto_select
from .internal.uids import resolve_seed
from .ops.construction import primitive
from .ops.functions import CompositeFunction
from .variables import sanitize_dtype, sanitize_shape

_DTYPE = default_override_or(np.float32)
_TYPE_CODES = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.float16): 4}


def _attributes(kind: str, arguments: list[float], seed: int) -> dict[str, Any]:
    return {
        "randomDistributionType": kind,
        "randomDistributionArgs": [float(v) for v in arguments],
        "rngSeed": SizeT(resolve_seed(seed)),
        "rngOffset": SizeT(0),
    }


def _of_shape(
    own: Any, kind: str, shape: Any, dtype: Any, arguments: list[float], seed: int, name: str
) -> CompositeFunction:
    dtype = sanitize_dtype(get_default_override(own, dtype=dtype))
    attributes = {
        "newShape": Shape(reversed(sanitize_shape(shape))),
        "newDataType": _TYPE_CODES[dtype],
        **_attributes(kind, arguments, seed),
    }
    return primitive(Op.RandomDistribution, [], attributes, name)


def _like(kind: str, x: Any, arguments: list[float], seed: int, name: str) -> CompositeFunction:
    return primitive(Op.RandomDistribution, [x], _attributes(kind, arguments, seed), name)


def uniform(
    shape: Any,
    dtype: Any = _DTYPE,
    low: float = 0.0,
    high: float = 1.0,
    seed: int = auto_select,
    name: str = "",
) -> CompositeFunction:
    """Numbers between low and high, of a shape."""
    return _of_shape(uniform, "uniform", shape, dtype, [low, high], seed, name)


def uniform_like(
    x: Any, low: float = 0.0, high: float = 1.0, seed: int = auto_select, name: str = ""
) -> CompositeFunction:
    """Numbers between low and high, of x's shape and dynamic axes."""
    return _like("uniform", x, [low, high], seed, name)


def normal(
    shape: Any,
    dtype: Any = _DTYPE,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: int = auto_select,
    name: str = "",
) -> CompositeFunction:
    """Normally distributed numbers with this mean and standard deviation."""
    return _of_shape(normal, "normal", shape, dtype, [mean, scale], seed, name)


def normal_like(
    x: Any, mean: float = 0.0, scale: float = 1.0, seed: int = auto_select, name: str = ""
) -> CompositeFunction:
    return _like("normal", x, [mean, scale], seed, name)


def gumbel(
    shape: Any,
    dtype: Any = _DTYPE,
    loc: float = 0.0,
    scale: float = 1.0,
    seed: int = auto_select,
    name: str = "",
) -> CompositeFunction:
    """Numbers of a Gumbel distribution."""
    return _of_shape(gumbel, "gumbel", shape, dtype, [loc, scale], seed, name)


def gumbel_like(
    x: Any, loc: float = 0.0, scale: float = 1.0, seed: int = auto_select, name: str = ""
) -> CompositeFunction:
    return _like("gumbel", x, [loc, scale], seed, name)


def bernoulli(
    shape: Any, dtype: Any = _DTYPE, mean: float = 0.5, seed: int = auto_select, name: str = ""
) -> CompositeFunction:
    """1 with this probability, else 0."""
    return _of_shape(bernoulli, "bernoulli", shape, dtype, [mean], seed, name)


def bernoulli_like(x: Any, mean: float = 0.5, seed: int = auto_select, name: str = "") -> CompositeFunction:
    return _like("bernoulli", x, [mean], seed, name)


__all__ = [
    "auto_select", "bernoulli", "bernoulli_like", "gumbel", "gumbel_like", "normal", "normal_like", "uniform",
    "uniform_like",
]  # fmt: skip

__getattr__ = module_getattr("cntk.random")
