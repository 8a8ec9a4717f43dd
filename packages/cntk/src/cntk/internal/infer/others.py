"""Shapes of batch normalisation, of criteria with an operation of their own, of random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...variables import INFERRED, ShapeOrUnknown, Variable, _Stored
from ..opcodes import Op
from .sequences import first_shape, no_axes, scalar
from .values import Attributes


def batch_normalization(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    if x is None:
        return None
    shape = x[:1] if attributes["spatial"] else (math.prod(x),)
    if min(x[:1] if attributes["spatial"] else x, default=1) < 0:
        return x
    for variable in inputs[1:5]:
        if isinstance(variable, _Stored) and INFERRED in variable.shape:
            variable.set_inferred_shape(shape)
    return x


def negative_samples(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    if any(v._shape is None for v in inputs):
        return None
    if "numNegativeSamples" in attributes:
        return (int(attributes["numNegativeSamples"]) + 1,)
    count = inputs[3]
    return (int(count.value) + 1,) if isinstance(count, _Stored) else None


def random_distribution(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    if inputs:
        return inputs[0]._shape
    return tuple(int(dim) for dim in reversed(attributes["newShape"]))


def random_sample(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    x = inputs[0]._shape
    return None if x is None else (int(attributes["numSamples"]), x[0])


RULES = {
    Op.BatchNormalization: batch_normalization,
    Op.Assign: lambda op, inputs, attributes: inputs[1]._shape,
    Op.CosDistance: scalar,
    Op.CosDistanceWithNegativeSamples: negative_samples,
    Op.ClassificationError: scalar,
    Op.Logistic: scalar,
    Op.LambdaRank: scalar,
    Op.NDCG: scalar,
    Op.EditDistanceError: scalar,
    Op.RandomDistribution: random_distribution,
    Op.RandomSample: random_sample,
    Op.RandomSampleInclusionFrequency: first_shape,
}
AXES = {
    **dict.fromkeys(
        (Op.ClassificationError, Op.Logistic, Op.LambdaRank, Op.NDCG, Op.EditDistanceError), no_axes
    ),
    Op.RandomSample: no_axes,
    Op.RandomSampleInclusionFrequency: no_axes,
}
