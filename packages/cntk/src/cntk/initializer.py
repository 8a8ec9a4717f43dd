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
from .internal.uids import AUTO_SEED, resolve_seed

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
    window: tuple[int, int] = (0, 0)

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
        if self.kind == "bilinear":
            return _bilinear(shape, dtype, self.window)
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


def _bilinear(shape: tuple[int, ...], dtype: torch.dtype, window: tuple[int, int]) -> torch.Tensor:
    if len(shape) < 2 or (shape[-1], shape[-2]) != window:
        raise ValueError(f"bilinear: the kernel must be {window[1]} x {window[0]}, not of shape {shape}")

    def line(size: int) -> torch.Tensor:
        factor = (size + 1) // 2
        centre = factor - 1 if size % 2 else factor - 0.5
        return 1 - (torch.arange(size, dtype=dtype) - centre).abs() / factor

    plane = line(shape[-2]).unsqueeze(1) * line(shape[-1])
    return plane.expand(shape).clone()


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


def bilinear(kernel_width: int, kernel_height: int) -> Initializer:
    """The kernel of bilinear interpolation, for transposed convolutions (outputs, inputs, height, width)."""
    return Initializer("bilinear", window=(kernel_width, kernel_height))


DefaultParamInitScale = 1
SentinelValueForInferParamInitRank = _UNSET
SentinelValueForAutoSelectRandomSeed = AUTO_SEED

__getattr__ = module_getattr("cntk.initializer")
