"""Training criteria, built as the blocks of primitives that CNTK stores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..axis import Axis
from ..initializer import glorot_normal
from ..internal.infer import ALL_STATIC_AXES
from ..internal.missing import module_getattr
from ..internal.opcodes import Op
from ..internal.proto import AxisValue
from ..internal.uids import AUTO_SEED
from ..ops.construction import primitive
from ..ops.functions import CompositeFunction, Function, make_block
from ..variables import Constant, Parameter, Variable

_FIRST_AXIS = AxisValue(0, "staticAxisIdx=0", True)


def cross_entropy_with_softmax(
    output_vector: Any, target_vector: Any, axis: int = -1, name: str = ""
) -> CompositeFunction:
    """Per sample: logsumexp(output) - target . output, along an axis."""

    def over_last(z: Any, label: Any) -> Any:
        product = ops.times_transpose(z, label)
        attributes = {"axis": _FIRST_AXIS, "reductionOpName": "LogSum", "reductionKeepDimensions": True}
        log_sum = primitive(Op.ReduceElements, [z], attributes)
        return ops.minus(log_sum, product)

    def over_axis(z: Any, label: Any) -> Any:
        product = ops.reduce_sum(ops.element_times(label, z), axis)
        return ops.minus(ops.reduce_log_sum_exp(z, axis), product)

    body = over_last if axis == -1 else over_axis
    return make_block("CrossEntropyWithSoftmax", body, [output_vector, target_vector], name)


def squared_error(output: Any, target: Any, name: str = "") -> CompositeFunction:
    """Per sample: the sum of squared differences."""

    def body(a: Any, b: Any) -> Any:
        difference = ops.minus(a, b)
        attributes = {
            "axis": AxisValue(ALL_STATIC_AXES, "AllStaticAxes", False),
            "reductionOpName": "Sum",
            "reductionKeepDimensions": False,
        }
        return primitive(Op.ReduceElements, [ops.element_times(difference, difference)], attributes)

    return make_block("SquaredError", body, [output, target], name)


def binary_cross_entropy(output: Any, target: Any, name: str = "") -> CompositeFunction:
    """Per element: -(target log(output) + (1 - target) log(1 - output))."""

    def body(a: Any, b: Any) -> Any:
        hit = ops.element_times(b, ops.log(a))
        miss = ops.element_times(ops.minus(1.0, b), ops.log(ops.minus(1.0, a)))
        return ops.negate(ops.plus(hit, miss))

    return make_block("BinaryCrossEntropy", body, [output, target], name)


def weighted_binary_cross_entropy(output: Any, target: Any, weight: Any, name: str = "") -> CompositeFunction:
    """The weighted binary cross entropy, summed over the minibatch."""
    return primitive(Op.Logistic, [output, target, weight], {}, name)


def cosine_distance(x: Any, y: Any, name: str = "") -> CompositeFunction:
    """Per sample: the cosine of the angle between x and y."""
    return primitive(Op.CosDistance, [x, y], {}, name)


def cosine_distance_with_negative_samples(
    x: Any, y: Any, shift: int, num_negative_samples: int, name: str = ""
) -> CompositeFunction:
    """The cosine of x with its own y, and with the ys of samples that come `shift` later and behind."""
    numbers = [Constant(float(v), ()) for v in (shift, num_negative_samples)]
    return primitive(Op.CosDistanceWithNegativeSamples, [x, y, *numbers], {}, name)


def lambda_rank(output: Any, gain: Any, group: Any, name: str = "") -> CompositeFunction:
    """The lambda-rank loss of documents' scores, with their gains, in groups (queries)."""
    return primitive(Op.LambdaRank, [output, gain, group], {}, name)


def fmeasure(output: Any, target: Any, beta: float = 1) -> CompositeFunction:
    """1 - F measure of (soft) predictions of each sample; of [classes, height, width] for each class."""
    axis: Any = (1, 2) if len(output.shape) == 3 else Axis.all_static_axes()
    hits = ops.reduce_sum(ops.element_times(output, target), axis)
    precision = hits / ops.reduce_sum(output, axis)
    recall = hits / ops.reduce_sum(target, axis)
    weight = beta * beta
    result: CompositeFunction = 1 - (1 + weight) * precision * recall / (weight * precision + recall)
    return result


def nce_loss(
    weights: Any, biases: Any, inputs: Any, labels: Any, noise_distribution: Any, num_samples: int = 32,
    allow_duplicates: bool = True, seed: int | None = None, name: str = "",
) -> CompositeFunction:  # fmt: skip
    """Noise contrastive estimation: the label against classes drawn from a noise distribution.

    weights [classes, dim], biases [classes, 1], inputs [dim], labels one-hot [classes], noise [classes].
    """
    noise = noise_distribution
    if not isinstance(noise, (Variable, Function)):
        noise = Constant(np.asarray(noise, np.float32).reshape(-1))
    seed = AUTO_SEED if seed is None else seed
    drawn = ops.random_sample(noise, num_samples, allow_duplicates, seed)
    frequency = ops.random_sample_inclusion_frequency(noise, num_samples, allow_duplicates, seed)
    bias = ops.reshape(biases, (-1,))
    expected = ops.reshape(ops.log(frequency), (-1,))

    def logits(one_hot: Any) -> Any:
        chosen = ops.times(one_hot, weights)  # [.., dim]
        score = ops.times_transpose(chosen, inputs)
        shift = ops.times(one_hot, ops.reshape(bias, (-1, 1))) - ops.times(
            one_hot, ops.reshape(expected, (-1, 1))
        )
        return score + shift

    positive = ops.softplus(ops.negate(logits(labels)))
    negative = ops.reduce_sum(ops.softplus(logits(drawn)), axis=0)
    return ops.alias(ops.reshape(positive, (1,)) + ops.reshape(negative, (1,)), name=name)


def hierarchical_softmax_layer(
    input_var: Any, label_index: Any, label_dim: int, label_classes: int | None = None
) -> tuple[Function, Function, list[Function]]:
    """Softmax over classes of labels, and over the labels of a class: two small ones instead of a large one.

    input_var [n], label_index [1] (the label's number), label_dim labels in label_classes classes (by default
    as many as a class has labels).  Returns the probability of the label [1], those of all classes, and for
    each class those of its labels.
    """
    width = input_var.shape[0]
    classes = label_classes or math.ceil(math.sqrt(label_dim))
    size = math.ceil(label_dim / classes)
    label = ops.element_divide(label_index + 0.5, size)
    of_class = ops.floor(label)
    in_class = ops.round(label_index - of_class * size)

    def parameter(shape: tuple[int, ...], name: str) -> Parameter:
        return Parameter(shape, init=glorot_normal(), name=f"hsoftmax_{name}")

    w1, b1 = parameter((width, classes), "w1"), parameter((classes,), "b1")
    w2, b2 = parameter((classes, width, size), "w2s"), parameter((classes, size), "b2s")
    class_probabilities = ops.softmax(b1 + ops.times(input_var, w1))

    def within(chosen: Any) -> Function:
        weight = ops.reshape(ops.times(chosen, w2, output_rank=2), (width, -1))
        bias = ops.reshape(ops.times(chosen, b2, output_rank=1), (-1,))
        return ops.softmax(bias + ops.times(input_var, weight))

    def one_hot(number: Any, count: int) -> Any:
        # [1, count] for a number [1]
        return ops.reshape(ops.one_hot(number, num_classes=count, sparse_output=False), (count,))

    chosen = one_hot(of_class, classes)
    of_label = ops.times_transpose(one_hot(in_class, size), within(chosen))
    probability = of_label * ops.times_transpose(chosen, class_probabilities)
    everything = []
    for number in range(classes):
        fixed = Constant(np.eye(classes, dtype=np.float32)[number])
        everything.append(within(fixed) * ops.times_transpose(class_probabilities, fixed))
    return probability, class_probabilities, everything


auto_select = AUTO_SEED  # as a seed: take the next one

__all__ = [
    "binary_cross_entropy", "cosine_distance", "cosine_distance_with_negative_samples",
    "cross_entropy_with_softmax", "fmeasure", "hierarchical_softmax_layer", "lambda_rank",
    "nce_loss", "squared_error",
    "weighted_binary_cross_entropy",
]  # fmt: skip

__getattr__ = module_getattr("cntk.losses")
