"""Drawing classes by weight."""

from __future__ import annotations

from typing import Any

from ..internal.opcodes import Op
from ..internal.proto import SizeT
from ..internal.uids import AUTO_SEED, resolve_seed
from .construction import primitive
from .nodes import CompositeFunction


def _attributes(num_samples: int, allow_duplicates: bool, seed: int) -> dict[str, Any]:
    if num_samples <= 0:
        raise ValueError("Number of requested samples is zero.")
    return {
        "numSamples": SizeT(num_samples),
        "allowDuplicates": bool(allow_duplicates),
        "rngSeed": SizeT(resolve_seed(seed)),
        "rngOffset": SizeT(0),
    }


def random_sample(
    weights: Any, num_samples: int, allow_duplicates: bool, seed: int = AUTO_SEED, name: str = ""
) -> CompositeFunction:
    """One-hot rows [num_samples, classes] of classes drawn by their weights."""
    return primitive(Op.RandomSample, [weights], _attributes(num_samples, allow_duplicates, seed), name)


def random_sample_inclusion_frequency(
    weights: Any, num_samples: int, allow_duplicates: bool, seed: int = AUTO_SEED, name: str = ""
) -> CompositeFunction:
    """How often each class is expected in such a sample."""
    attributes = _attributes(num_samples, allow_duplicates, seed)
    return primitive(Op.RandomSampleInclusionFrequency, [weights], attributes, name)


__all__ = ["random_sample", "random_sample_inclusion_frequency"]
