"""Reductions over static axes, over the batch and over a sequence."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..infer.reductions import Over, reduced_over, reduction_axes
from ..layout import Layout, expand_mask
from ..opcodes import Op
from .node import Kernel, Node


class _Extreme(torch.autograd.Function):
    """Maximum or minimum over axes whose gradient goes to all tied elements, as CNTK's does."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dims: list[int], keep: bool, largest: bool) -> torch.Tensor:
        result = x.amax(dims, keepdim=True) if largest else x.amin(dims, keepdim=True)
        ctx.save_for_backward(x == result)
        ctx.shape = result.shape
        return result if keep else result.squeeze(dims)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (ties,) = ctx.saved_tensors
        return gradient.reshape(ctx.shape) * ties, None, None, None


def _product(x: torch.Tensor, dims: list[int], keep: bool) -> torch.Tensor:
    for dim in dims:
        x = x.prod(dim, keepdim=True)
    return x if keep else x.squeeze(dims)


def _position(x: torch.Tensor, dims: list[int], keep: bool, largest: bool) -> torch.Tensor:
    """The index of the first extreme, along one axis or in all of them (as one column)."""
    if len(dims) == 1:
        where = x.argmax(dims[0], keepdim=True) if largest else x.argmin(dims[0], keepdim=True)
    else:
        flat = x.flatten(x.dim() - len(dims))
        where = flat.argmax(-1) if largest else flat.argmin(-1)
        where = where.reshape(*where.shape, *(1,) * len(dims))
    return (where if keep else where.squeeze(dims)).to(x.dtype)


def _function(name: str, dims: list[int], keep: bool) -> Kernel:
    extreme: Kernel = _Extreme.apply
    table: dict[str, Kernel] = {
        "Sum": lambda x: x.sum(dims, keepdim=keep),
        "Mean": lambda x: x.mean(dims, keepdim=keep),
        "LogSum": lambda x: x.logsumexp(dims, keepdim=keep),
        "Max": lambda x: extreme(x, dims, keep, True),
        "Min": lambda x: extreme(x, dims, keep, False),
        "Prod": lambda x: _product(x, dims, keep),
        "Argmax": lambda x: _position(x, dims, keep, True),
        "Argmin": lambda x: _position(x, dims, keep, False),
    }
    if name not in table:
        raise ValueError(f"Unknown reduction op '{name}'.")
    return table[name]


def reduce(node: Node) -> Kernel:
    attributes = node.attributes
    rank = node.rank(0)
    name = attributes["reductionOpName"]
    keep = bool(attributes.get("reductionKeepDimensions", True))
    over = reduced_over(attributes)
    lead = node.leads[0]
    if over is Over.STATIC:
        axes = reduction_axes(attributes, rank)
        if not axes:
            return lambda x: x
        return _function(name, [axis - rank for axis in axes], keep)
    if over is Over.SEQUENCE:
        return _over_sequence(name)
    static = range(rank) if over is Over.EVERYTHING else reduction_axes(attributes, rank)
    flat = _function(name, [0, *(axis + 1 for axis in static)], keep=False)
    shape = node.result.shape

    def function(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = flat(x)
        return result.reshape(shape) if static and min(shape, default=0) >= 0 else result

    if lead == 0:
        return lambda x: function(x.unsqueeze(0))
    if lead == 1:
        return function

    def rows(x: torch.Tensor, layout: Layout) -> torch.Tensor:
        result: torch.Tensor = function(
            x.reshape(-1, *x.shape[2:]) if layout.uniform else x[layout.mask(x.device)]
        )
        return result

    return rows


_NEUTRAL = {"Sum": 0.0, "Mean": 0.0, "LogSum": -math.inf, "Max": -math.inf, "Min": math.inf, "Prod": 1.0}


def _over_sequence(name: str) -> Kernel:
    function = _function(name if name != "Mean" else "Sum", [1], keep=False)
    neutral = _NEUTRAL.get(name)

    def run(x: torch.Tensor, layout: Layout) -> torch.Tensor:
        if not layout.uniform and neutral is not None:
            x = torch.where(expand_mask(layout.mask(x.device), x), x, neutral)
        y: torch.Tensor = function(x)
        if name == "Mean":
            lengths = (layout.last(x.device) + 1).to(x.dtype)
            y = y / lengths.reshape(-1, *(1,) * (y.dim() - 1))
        return y

    return run


BUILDERS: dict[Op, Any] = {Op.ReduceElements: reduce}
