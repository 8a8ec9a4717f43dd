"""Operations that move, take or join elements."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ...variables import FREE
from ..infer.shapes import permutation, reshape_range, slice_ranges, splice_axis
from ..infer.values import python_axis
from ..opcodes import Op
from .cropping import crop
from .node import Kernel, Node, aligned


def reshape(node: Node) -> Kernel:
    result = node.result.shape
    lead = node.leads[0]
    if FREE in result:
        begin, end = reshape_range(node.attributes, node.rank(0))
        taken = len(result) - (node.rank(0) - end) - begin
        new = result[begin : begin + taken]

        def run(x: torch.Tensor) -> torch.Tensor:
            dims = x.shape[lead:]
            # At most the free axis is not known: in the part that stays, or as -1 in the new one.
            middle = [-1 if dim == FREE else dim for dim in new]
            return x.reshape(*x.shape[:lead], *dims[:begin], *middle, *dims[end:])

        return run
    if lead == 1:
        return lambda x: x.reshape(-1, *result)
    return lambda x: x.reshape((*x.shape[:lead], *result))


def transpose(node: Node) -> Kernel:
    order = permutation(node.attributes, node.rank(0))
    lead = node.leads[0]
    dims = [*range(lead), *(lead + axis for axis in order)]
    return lambda x: x.permute(dims)


def slice_(node: Node) -> Kernel:
    lead = node.leads[0]
    ranges = slice_ranges(node.attributes, node.operands[0].shape)

    def run(x: torch.Tensor) -> torch.Tensor:
        for axis, begin, end, step in ranges:
            dim = lead + axis
            if step > 0:
                x = (
                    x.narrow(dim, begin, end - begin)
                    if end != FREE
                    else x.narrow(dim, begin, x.shape[dim] - begin)
                )
                if step > 1:
                    x = x[(*(slice(None),) * dim, slice(None, None, step))]
            else:
                picked = torch.arange(end - 1, begin - 1, step, device=x.device)
                x = x.index_select(dim, picked)
        return x

    return run


def splice(node: Node) -> Kernel:
    rank = len(node.result.shape)
    axis = splice_axis(node.attributes, [v.shape for v in node.operands])
    views = [aligned(node, i, rank) for i in range(len(node.operands))]
    shapes = [(1,) * (rank - len(v.shape)) + v.shape for v in node.operands]
    lead = node.lead
    result = node.result.shape

    def run(*operands: torch.Tensor) -> torch.Tensor:
        parts = []
        front: tuple[int, ...] = ()
        for view, x in zip(views, operands, strict=True):
            part = view(x) if view else x
            if part.dim() == lead + rank:
                front = tuple(max(a, b) for a, b in zip(front or (1,) * lead, part.shape[:lead], strict=True))
            parts.append(part)
        for i, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
            dims = [size if j != axis else shape[j] for j, size in enumerate(result)]
            dims = [-1 if dim == FREE else dim for dim in dims]
            parts[i] = part.reshape(*part.shape[: part.dim() - len(shape)], *part.shape[-len(shape) :])
            if len(operands[i].shape) < lead + rank and part.dim() < lead + rank:
                part = part.reshape(*(1,) * (lead + rank - part.dim()), *part.shape)
            parts[i] = part.expand(*front, *dims)
        return torch.cat(parts, lead + axis)

    return run


def pad(node: Node) -> Kernel:
    """Constant, reflecting (without the edge) or symmetric (with it) padding of the static axes."""
    head = [int(v) for v in reversed(node.attributes["paddingHead"])]
    foot = [int(v) for v in reversed(node.attributes["paddingFoot"])]
    mode = int(node.attributes["paddingMode"])
    value = float(node.attributes.get("paddingConstantValue", 0.0))
    shape = node.operands[0].shape
    lead = node.leads[0]
    if mode == 0:
        spec = [size for pair in zip(reversed(head), reversed(foot), strict=True) for size in pair]
        return lambda x: F.pad(x, spec, value=value)
    edge = 0 if mode == 2 else 1
    if mode == 1 and any(max(h, f) > n - 1 for h, f, n in zip(head, foot, shape, strict=True)):
        raise RuntimeError(
            "Pad: with REFLECTPAD mode, the head and foot length must be no greater than input dimension - 1."
        )
    if mode == 2 and any(max(h, f) > n for h, f, n in zip(head, foot, shape, strict=True)):
        raise RuntimeError(
            "Pad: with SYMMETRICPAD mode, the head and foot length must be no greater than input dimension."
        )
    picks = []
    for h, f, n in zip(head, foot, shape, strict=True):
        before = [h - 1 - i + edge for i in range(h)]
        after = [n - 1 - edge - i for i in range(f)]
        picks.append([*before, *range(n), *after])

    def run(x: torch.Tensor) -> torch.Tensor:
        for axis, picked in enumerate(picks):
            if len(picked) != shape[axis]:
                x = x.index_select(lead + axis, torch.tensor(picked, device=x.device))
        return x

    return run


def one_hot(node: Node) -> Kernel:
    count = int(node.attributes["numClass"])
    rank = node.rank(0) + 1
    axis = python_axis(node.attributes["onehotAxis"], rank)
    lead = node.leads[0]

    def run(x: torch.Tensor) -> torch.Tensor:
        index = x.long()
        inside = (index >= 0) & (index < count)
        hot = F.one_hot(index.clamp(0, count - 1), count) * inside.unsqueeze(-1)
        return hot.to(x.dtype).movedim(-1, lead + axis)

    return run


def gather(node: Node) -> Kernel:
    """Rows of a reference (without dynamic axes) by their indices."""
    if node.leads[1] > 0:
        raise RuntimeError("Gather operation's right operand doesn't expect to have dynamic axis")
    return lambda indices, reference: reference[indices.long()]


def top_k(node: Node) -> Kernel:
    axis = python_axis(node.attributes["axis"], node.rank(0)) if node.rank(0) else 0
    count = int(node.attributes["numItems"])
    lead = node.leads[0]

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = torch.topk(x, count, lead + axis)
        return values, indices.to(x.dtype)

    return run


def squeeze(node: Node) -> Kernel:
    lead = node.leads[0]
    result = node.result.shape
    return lambda x: x.reshape((*x.shape[:lead], *[-1 if dim == FREE else dim for dim in result]))


BUILDERS: dict[Op, Any] = {
    Op.Reshape: reshape,
    Op.TransposeAxes: transpose,
    Op.Slice: slice_,
    Op.Splice: splice,
    Op.Pad: pad,
    Op.OneHot: one_hot,
    Op.Gather: gather,
    Op.TopK: top_k,
    Op.Squeeze: squeeze,
    Op.Crop: crop,
}
