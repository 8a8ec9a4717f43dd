"""Matrix products over the trailing axes of one operand and the leading ones of the other."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...variables import FREE
from ..infer.products import REDUCE_SEQUENCE_AXIS
from ..layout import Layout
from ..opcodes import Op
from .node import Kernel, Node


def times(node: Node) -> Kernel:
    output_rank = int(node.attributes["outputRank"])
    w_shape, x_shape = node.operands[0].shape, node.operands[1].shape
    reduced = len(w_shape) - output_rank
    if node.attributes.get("inferInputRankToMap") == REDUCE_SEQUENCE_AXIS:
        return _over_sequence(node)
    if FREE in w_shape or FREE in x_shape:
        return _free(node, reduced)
    inner = math.prod(w_shape[:reduced])
    outer = math.prod(w_shape[reduced:])
    rows = math.prod(x_shape[: len(x_shape) - reduced])
    result = node.result.shape
    w_lead, x_lead = node.leads
    if w_lead == 0:
        if x_lead == 1:
            return lambda w, x: (x.reshape(-1, inner) @ w.reshape(inner, outer)).reshape(-1, *result)
        return lambda w, x: (x.reshape(-1, inner) @ w.reshape(inner, outer)).reshape(
            *x.shape[:x_lead], *result
        )
    lead = node.lead

    def batched(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        w = w.reshape(*w.shape[:w_lead], *(1,) * (lead - w_lead), inner, outer)
        x = x.reshape(*x.shape[:x_lead], *(1,) * (lead - x_lead), rows, inner)
        y = x @ w
        return y.reshape(*y.shape[:lead], *result)

    return batched


def _over_sequence(node: Node) -> Kernel:
    """The sum over a sequence of vectors, each times a number: a matrix product over the time axis."""
    numbers = node.operands[0].shape == (1,)
    if not (numbers or node.operands[1].shape == (1,)) or node.leads != [2, 2]:
        owner = node.result.owner
        raise ValueError(
            f"{owner.uid if owner else ''} Times operation can perform sequence axis reduction only in forms "
            "of (m x k) * (k x 1), without transpose."
        )
    extra = (1,) * node.rank(1)

    def run(w: torch.Tensor, x: torch.Tensor, layout: Layout) -> torch.Tensor:
        mask = layout.mask(x.device).unsqueeze(-1)
        if not numbers:  # x is the number, w the vector
            inside = mask.reshape(*mask.shape[:2], *(1,) * (w.dim() - 2))
            vectors = torch.where(inside, w, 0.0)
            return (x.reshape(*x.shape[:2], *(1,) * (w.dim() - 2)) * vectors).sum(1).unsqueeze(1)
        weights = torch.where(mask, w, 0.0)
        return (x * weights.reshape(*w.shape[:2], *extra)).sum(1)

    return run


def _free(node: Node, reduced: int) -> Kernel:
    """With an axis whose size is known from the data only."""
    w_lead, x_lead = node.leads
    lead = node.lead

    def run(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        w_dims, x_dims = w.shape[w_lead:], x.shape[x_lead:]
        inner = math.prod(w_dims[:reduced])
        w = w.reshape(*w.shape[:w_lead], *(1,) * (lead - w_lead if w_lead else 0), inner, -1)
        x = x.reshape(*x.shape[:x_lead], *(1,) * (lead - x_lead if x_lead else 0), -1, inner)
        y = x @ w
        return y.reshape(*y.shape[:lead], *x_dims[: len(x_dims) - reduced], *w_dims[reduced:])

    return run


def dense(node: Node, times_node: Node) -> Kernel:
    """Times and the addition of a bias of the output's shape, in one product."""
    w_shape = times_node.operands[0].shape
    output_rank = int(times_node.attributes["outputRank"])
    inner = math.prod(w_shape[: len(w_shape) - output_rank])
    outer = math.prod(w_shape[len(w_shape) - output_rank :])
    result = node.result.shape
    lead = node.lead

    def run(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.addmm(b.reshape(outer), x.reshape(-1, inner), w.reshape(inner, outer)).reshape(
            -1, *result
        )

    def over_time(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return run(w, x, b).reshape(*x.shape[:lead], *result)

    return run if lead == 1 else over_time


def sparse_product(node: Node, plus: Node | None = None) -> Kernel | None:
    """What `times` (with `plus` and a bias: `dense`) does for sparse vectors, or None when it is no product
    of vectors with a matrix that all samples share."""
    if node.op is not Op.Times or node.leads[0] != 0 or node.leads[1] == 0 or node.rank(1) != 1:
        return None
    w_shape = node.operands[0].shape
    if node.attributes.get("inferInputRankToMap") == REDUCE_SEQUENCE_AXIS or FREE in w_shape:
        return None
    if len(w_shape) - int(node.attributes["outputRank"]) != 1:
        return None
    result = node.result.shape

    def run(w: torch.Tensor, x: Any, *bias: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x.times(w.reshape(w_shape[0], -1)).reshape(*x.lead, *result)
        return y if not bias else y + bias[0]

    return run


def transpose_times(node: Node) -> Kernel:
    """left times the transpose of right, a vector or a matrix."""
    right_rank, left_rank = node.rank(0), node.rank(1)
    right_lead, left_lead = node.leads
    result = node.result.shape
    lead = node.lead

    def run(right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        right = right.unsqueeze(-2) if right_rank == 1 else right
        left = left.unsqueeze(-2) if left_rank == 1 else left
        if left_rank > 2:
            left = left.flatten(left.dim() - left_rank, -2)
        if right_lead and left_lead < lead:
            left = left.reshape(*left.shape[:left_lead], *(1,) * (lead - left_lead), *left.shape[left_lead:])
        if left_lead and right_lead < lead:
            right = right.reshape(
                *right.shape[:right_lead], *(1,) * (lead - right_lead), *right.shape[right_lead:]
            )
        product = left @ right.transpose(-1, -2)
        return product.reshape(*product.shape[:lead], *result)

    return run


BUILDERS: dict[Op, Any] = {Op.Times: times, Op.TransposeTimes: transpose_times}
