"""Evaluation criteria."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..internal.missing import module_getattr
from ..internal.opcodes import Op
from ..internal.proto import Float
from ..ops.construction import primitive
from ..ops.functions import CompositeFunction, make_block
from ..variables import Constant


def classification_error(
    output_vector: Any, target_vector: Any, axis: int = -1, topN: int = 1, name: str = ""
) -> CompositeFunction:
    """Per sample: 0 when the label is the first maximum of the output, else 1.

    Along another axis: whether any row's maxima are not its label.  With topN, summed over the minibatch: 0
    when the label is among the N best.
    """
    if topN != 1:
        count = Constant(float(topN), ())
        return primitive(Op.ClassificationError, [output_vector, target_vector, count], {}, name)

    def over_last(z: Any, label: Any) -> Any:
        return ops.minus(1.0, ops.times_transpose(ops.hardmax(z), label))

    def over_axis(z: Any, label: Any) -> Any:
        best = ops.equal(z, ops.reduce_max(z, axis))
        wrong = ops.reduce_sum(ops.not_equal(label, best), axis)
        return ops.reduce_mean(ops.greater_equal(wrong, 1.0))

    body = over_last if axis == -1 else over_axis
    return make_block("ClassificationError", body, [output_vector, target_vector], name)


def edit_distance_error(
    input_a: Any,
    input_b: Any,
    subPen: float = 1,
    delPen: float = 1,
    insPen: float = 1,
    squashInputs: bool = False,
    tokensToIgnore: Sequence[int] = (),
    name: str = "",
) -> CompositeFunction:
    """The edit distance of two sequences' best labels, relative to the first one's length, per frame."""
    attributes = {
        "SubstitutionPenalty": Float(subPen),
        "DeletionPenalty": Float(delPen),
        "InsertionPenalty": Float(insPen),
        "SquashInputs": bool(squashInputs),
        "TokensToIgnore": [int(token) for token in tokensToIgnore],
    }
    return primitive(Op.EditDistanceError, [input_a, input_b], attributes, name)


def ndcg_at_1(output: Any, gain: Any, group: Any, name: str = "") -> CompositeFunction:
    """NDCG at 1 of documents' scores, with their gains, in groups (queries)."""
    return primitive(Op.NDCG, [output, gain, group], {}, name)


__all__ = ["classification_error", "edit_distance_error", "ndcg_at_1"]

__getattr__ = module_getattr("cntk.metrics")
