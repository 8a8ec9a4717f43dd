"""Softmax and its kin, dropout, batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from ...variables import Constant
from ..layout import Layout, expand_mask
from ..missing import unavailable
from ..opcodes import Op
from .node import Kernel, Node


def _hardmax(x: torch.Tensor) -> torch.Tensor:
    return F.one_hot(x.argmax(-1), x.shape[-1]).to(x.dtype)


def column_wise(node: Node) -> Kernel:
    """Softmax, log-softmax and hardmax see one column per sample: all static axes."""
    function: Kernel = {
        Op.Softmax: lambda x: torch.softmax(x, -1),
        Op.LogSoftmax: lambda x: torch.log_softmax(x, -1),
        Op.Hardmax: _hardmax,
    }[node.op]
    lead = node.leads[0]
    if node.rank(0) == 1:
        return function
    if node.rank(0) == 0:
        return lambda x: function(x.unsqueeze(-1)).squeeze(-1)
    return lambda x: function(x.flatten(lead)).reshape(x.shape)


def dropout(node: Node) -> Kernel:
    rate = float(node.attributes["dropoutRate"])
    if not node.training or rate == 0.0:
        return lambda x: x
    generators: dict[torch.device, torch.Generator] = {}
    seed = int(node.attributes.get("rngSeed", 0)) & (2**63 - 1)
    scale = 1.0 / (1.0 - rate)

    def run(x: torch.Tensor) -> torch.Tensor:
        generator = generators.get(x.device)
        if generator is None:
            generator = generators[x.device] = torch.Generator(x.device).manual_seed(seed)
        mask = torch.empty_like(x, requires_grad=False).bernoulli_(1.0 - rate, generator=generator)
        return x * mask.mul_(scale)

    return run


def batch_normalization(node: Node) -> Kernel:
    attributes = node.attributes
    blend_constant = float(attributes.get("blendTimeConstant", 0.0))
    epsilon = float(attributes["epsilon"])
    time_constant = float(attributes["normalizationTimeConstant"])
    spatial = bool(attributes["spatial"])
    shape = node.operands[0].shape
    # A finite blend time constant has no effect in CNTK's own implementation; an infinite one means the
    # running statistics alone.
    training = node.training and math.isfinite(blend_constant)
    counter = node.operands[5] if len(node.operands) > 5 else None
    if training and not isinstance(counter, Constant):
        raise unavailable("training a batch normalisation without a running count")
    begun, known_version = False, -1

    def run(
        x: torch.Tensor,
        scale: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: torch.Tensor | None = None,
        samples: int | None = None,
    ) -> torch.Tensor:
        nonlocal begun, known_version
        y = x if spatial else x.flatten(1)
        momentum = 0.0
        if training and count is not None:
            samples = x.shape[0] if samples is None else samples
            # The first minibatch sets the running statistics, later ones are blended in by the time constant.
            if count._version != known_version:
                # Somebody else wrote the count.  Looked at only then: on a GPU it means to wait.
                begun = bool((count != 0).any().item())
            if not begun or time_constant == 0:
                momentum = 1.0
            elif time_constant < 0:  # the mean of all samples so far
                momentum = samples / (float(count) + samples)
            else:
                momentum = 1.0 - math.exp(-samples / time_constant)
            count.add_(samples)
            begun, known_version = True, count._version
        flat = [t.reshape(-1) for t in (mean, variance, scale, bias)]
        if training and y.numel() == y.shape[1]:
            # One value per channel: no deviation from its mean, and no variance for the running one.
            with torch.no_grad():
                flat[0].lerp_(y.reshape(-1), momentum)
                flat[1].mul_(1.0 - momentum)
            y = torch.batch_norm(y, flat[2], flat[3], None, None, True, 0.0, epsilon, False)
        else:
            y = F.batch_norm(y, flat[0], flat[1], flat[2], flat[3], training, momentum, epsilon)
        return y if spatial else y.reshape(-1, *shape)

    lead = node.leads[0]
    if lead == 1:
        return run

    if lead == 0:
        return lambda x, *stored: run(x.unsqueeze(0), *stored).squeeze(0)

    def over_time(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        layout: Layout = rest[-1]
        scale, bias, mean, variance, count = [*rest[:-1], None][:5]
        # As in CNTK, the cells behind the sequences' ends count as zeros; the running count does not.
        if training:
            x = torch.where(expand_mask(layout.mask(x.device), x), x, 0.0)
        y = run(x.reshape(-1, *shape), scale, bias, mean, variance, count, layout.total)
        return y.reshape(x.shape)

    return over_time


BUILDERS: dict[Op, Any] = {
    Op.Softmax: column_wise,
    Op.LogSoftmax: column_wise,
    Op.Hardmax: column_wise,
    Op.Dropout: dropout,
    Op.BatchNormalization: batch_normalization,
}
