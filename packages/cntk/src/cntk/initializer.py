"""Initial values of parameters.

An initialiser is a description; the numbers are drawn when the parameter's shape is known, from a generator
of its own seeded by the process-wide counter, so they do not depend on the order in which shapes become
known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from .internal.missing import module_getattr
from .internal.uids import resolve_seed

_UNSET = 2147483647  # CNTK's SentinelValueForInferParamInitRank


# CNTK's names, where they differ.
_NAMES = {
    "glorot_uniform": "glorotUniform",
    "glorot_normal": "glorotNormal",
    "he_uniform": "heUniform",
    "he_normal": "heNormal",
}


@dataclass(frozen=True)
class Initializer:
    """One initialiser with its layout: which axes are outputs, which are the receptive field."""

    kind: str
    scale: float = 1.0
    output_rank: int = _UNSET
    filter_rank: int = _UNSET
    seed: int | None = None
    value: float = 0.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            kind = _NAMES.get(self.kind, self.kind)
            raise ValueError(f"CreateInitializer: scale value for initializer '{kind}' cannot be 0.")

    def fans(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """(fan-in, fan-out), both with the receptive field.

        A positive output rank counts trailing axes (products), a negative one leading axes (convolutions).
        """
        output_rank = 1 if self.output_rank == _UNSET else self.output_rank
        filter_rank = 0 if self.filter_rank == _UNSET else self.filter_rank
        if output_rank >= 0:
            split = len(shape) - output_rank
            outputs, rest = shape[split:], shape[:split]
        else:
            outputs, rest = shape[:-output_rank], shape[-output_rank:]
        split = len(rest) - filter_rank
        receptive = math.prod(rest[split:])
        return math.prod(rest[:split]) * receptive, math.prod(outputs) * receptive

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if self.kind == "constant":
            return torch.full(shape, self.value, dtype=dtype)
        fan_in, fan_out = self.fans(shape) if shape else (1.0, 1.0)
        limit: float | None = None
        std = self.scale
        if self.kind == "uniform":
            limit = self.scale
        elif self.kind == "glorot_uniform":
            limit = self.scale * math.sqrt(6.0 / (fan_in + fan_out))
        elif self.kind == "he_uniform":
            limit = self.scale * math.sqrt(6.0 / fan_in)
        elif self.kind == "xavier":
            limit = self.scale * math.sqrt(3.0 / fan_in)
        elif self.kind == "glorot_normal":
            std = self.scale * math.sqrt(2.0 / (fan_in + fan_out))
        elif self.kind == "he_normal":
            std = self.scale * math.sqrt(2.0 / fan_in)
        generator = torch.Generator().manual_seed(resolve_seed(self.seed))
        values = torch.empty(shape, dtype=dtype)
        if limit is not None:
            return values.uniform_(-limit, limit, generator=generator)
        if self.kind == "truncated_normal":
            return torch.nn.init.trunc_normal_(values, 0.0, std, -2 * std, 2 * std, generator=generator)
        return values.normal_(0.0, std, generator=generator)

    def seeded(self) -> Initializer:
        """The same with its seed fixed now (a parameter takes its seed when it is created)."""
        return self if self.kind == "constant" else replace(self, seed=resolve_seed(self.seed))


def uniform(scale: float, seed: int | None = None) -> Initializer:
    return Initializer("uniform", scale, seed=seed)


def normal(
    scale: float, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("normal", scale, output_rank, filter_rank, seed)


def truncated_normal(stdev: float, seed: int | None = None) -> Initializer:
    return Initializer("truncated_normal", stdev, seed=seed)


def xavier(
    scale: float = 1, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("xavier", scale, output_rank, filter_rank, seed)


def glorot_uniform(
    scale: float = 1, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("glorot_uniform", scale, output_rank, filter_rank, seed)


def glorot_normal(
    scale: float = 1, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("glorot_normal", scale, output_rank, filter_rank, seed)


def he_uniform(
    scale: float = 1, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("he_uniform", scale, output_rank, filter_rank, seed)


def he_normal(
    scale: float = 1, output_rank: int = _UNSET, filter_rank: int = _UNSET, seed: int | None = None
) -> Initializer:
    return Initializer("he_normal", scale, output_rank, filter_rank, seed)


def initializer_with_rank(
    initializer: Initializer | float | np.ndarray,
    output_rank: int | None = None,
    filter_rank: int | None = None,
) -> Initializer | float | np.ndarray:
    """Give an initialiser the layout of its parameter, unless it was made with one."""
    if not isinstance(initializer, Initializer):
        return initializer
    if output_rank is not None and initializer.output_rank == _UNSET:
        initializer = replace(initializer, output_rank=output_rank)
    if filter_rank is not None and initializer.filter_rank == _UNSET:
        initializer = replace(initializer, filter_rank=filter_rank)
    return initializer


__getattr__ = module_getattr("cntk.initializer")
