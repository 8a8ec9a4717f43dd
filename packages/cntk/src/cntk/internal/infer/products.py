"""Shapes of products, and the parameter dimensions they determine."""

from __future__ import annotations

from collections.abc import Sequence

from ...variables import INFERRED, ShapeOrUnknown, Variable, _Stored, shape_text
from ..missing import unavailable
from ..opcodes import Op
from .values import Attributes

NO_INFERRED_RANK = -1
REDUCE_SEQUENCE_AXIS = -2  # what the attribute says for a product over the sequence axis


def _known_from(data: Variable, x: tuple[int, ...], contracted: tuple[int, ...]) -> tuple[int, ...]:
    """The left operand's shape; a parameter takes the sizes that are still to be inferred."""
    front = x[: len(x) - len(contracted)]
    full = front + tuple(b if a == INFERRED else a for a, b in zip(x[len(front) :], contracted, strict=True))
    if isinstance(data, _Stored) and INFERRED in x and INFERRED not in full:
        data.set_inferred_shape(full)
        return full
    return x


def times(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    weight, data = inputs  # stored order: right operand first
    output_rank = int(attributes["outputRank"])
    if output_rank < 1:
        raise ValueError(f"Times: Output rank ({output_rank}) must be > 0.")
    x, w = data._shape, weight._shape
    if w is None or x is None:
        return None
    map_rank = int(attributes.get("inferInputRankToMap", NO_INFERRED_RANK))
    if map_rank == REDUCE_SEQUENCE_AXIS:
        return x if w == (1,) else x + w  # of numbers, their sums; of a number and a vector, the vectors'
    if output_rank > len(w):
        raise ValueError(
            f"Times: The output rank {output_rank} is larger than the rank of the right operand with shape "
            f"'{shape_text(w)}'"
        )
    if INFERRED in w:
        if INFERRED in x or not isinstance(weight, _Stored):
            return None
        contracted = x[map_rank:] if map_rank >= 0 else x[len(x) - (len(w) - output_rank) :]
        w = contracted + w[len(w) - output_rank :]
        weight.set_inferred_shape(w)
    reduced = len(w) - output_rank
    if reduced <= len(x):
        x = _known_from(data, x, w[:reduced])
    given = x[len(x) - reduced :]
    if reduced > len(x) or any(a != b and min(a, b) >= 0 for a, b in zip(w, given, strict=False)):
        raise ValueError(
            f"Times: The {reduced} leading dimensions of the right operand with shape "
            f"'{shape_text(w[:reduced])}' do not match the left operand's trailing dimensions with shape "
            f"'{shape_text(x)}'"
        )
    return x[: len(x) - reduced] + w[reduced:]


def transpose_times(op: Op, inputs: Sequence[Variable], attributes: Attributes) -> ShapeOrUnknown:
    right, left = inputs
    a, b = left._shape, right._shape
    if a is None or b is None:
        return None
    if len(b) not in (1, 2) or len(a) < 1:
        raise unavailable("cntk.times_transpose with operands of these ranks")
    if a[-1] != b[-1]:
        raise ValueError(
            f"Times: The 1 leading dimensions of the right operand with shape '{shape_text(b[-1:])}' do not "
            f"match the left operand's trailing dimensions with shape '{shape_text(a)}'"
        )
    return a[:-1] + (b[:-1] or (1,))


RULES = {Op.Times: times, Op.TransposeTimes: transpose_times}
