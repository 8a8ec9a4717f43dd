"""Matrix products."""

from __future__ import annotations

from typing import Any

from ..internal.infer.products import NO_INFERRED_RANK, REDUCE_SEQUENCE_AXIS
from ..internal.opcodes import Op
from ..internal.proto import SizeT
from .construction import primitive
from .nodes import CompositeFunction

TIMES_NO_INFERRED_INPUT_RANK = NO_INFERRED_RANK
TIMES_REDUCE_SEQUENCE_AXIS_WITHOUT_INFERRED_INPUT_RANK = REDUCE_SEQUENCE_AXIS


def times(
    left: Any, right: Any, output_rank: int = 1, infer_input_rank_to_map: int = -1, name: str = ""
) -> CompositeFunction:
    """Matrix product over the last axes of `left` and the first of `right`."""
    attributes = {"outputRank": SizeT(output_rank), "inferInputRankToMap": int(infer_input_rank_to_map)}
    return primitive(Op.Times, [right, left], attributes, name)


def times_transpose(left: Any, right: Any, name: str = "") -> CompositeFunction:
    """left times the transpose of right."""
    return primitive(Op.TransposeTimes, [right, left], {"outputRank": SizeT(1)}, name)


__all__ = [
    "TIMES_NO_INFERRED_INPUT_RANK", "TIMES_REDUCE_SEQUENCE_AXIS_WITHOUT_INFERRED_INPUT_RANK", "times",
    "times_transpose",
]  # fmt: skip
