"""Evaluation criteria."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..internal.missing import module_getattr, unavailable
from ..ops.functions import CompositeFunction, make_block


def classification_error(
    output_vector: Any, target_vector: Any, axis: int = -1, topN: int = 1, name: str = ""
) -> CompositeFunction:
    """Per sample: 0 when the label is the first maximum of the output, else 1."""
    if axis != -1 or topN != 1:
        raise unavailable("classification_error with axis or topN")
    one = ops.constant(1.0)

    def body(z: Any, label: Any) -> Any:
        return ops.minus(one, ops.times_transpose(ops.hardmax(z), label))

    return make_block("ClassificationError", body, [output_vector, target_vector], name)


__all__ = ["classification_error"]

__getattr__ = module_getattr("cntk.metrics")
