"""Operations with an effect or with a random generator of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..opcodes import Op
from .elementwise import _TORCH_TYPES
from .node import Kernel, Node


class _Deferred:
    """Where assignments wait while `forward` computes what `backward` will go back through."""

    waiting: list[tuple[torch.Tensor, torch.Tensor]] | None = None


@contextmanager
def deferred_assignments() -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Inside, assignments are only noted, as (target, value); see `make_assignments`."""
    before, _Deferred.waiting = _Deferred.waiting, []
    try:
        yield _Deferred.waiting
    finally:
        _Deferred.waiting = before


def make_assignments(waiting: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for target, value in waiting:
            target.copy_(value)
    waiting.clear()


def assign(node: Node) -> Kernel:
    """Puts the value into the parameter or constant, and is the value."""

    def run(target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if _Deferred.waiting is not None:
            _Deferred.waiting.append((target, value.detach().clone()))
            return value
        with torch.no_grad():
            target.copy_(value)
        return value

    return run


def _generator(node: Node) -> Any:
    seed = int(node.attributes.get("rngSeed", 0)) & (2**63 - 1)
    generators: dict[torch.device, torch.Generator] = {}

    def of(device: torch.device) -> torch.Generator:
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        return generators[device]

    return of


def _draw(kind: str, arguments: list[float], y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if kind == "uniform":
        return y.uniform_(arguments[0], arguments[1], generator=generator)
    if kind == "normal":
        return y.normal_(arguments[0], arguments[1], generator=generator)
    if kind == "bernoulli":
        return y.bernoulli_(arguments[0], generator=generator)
    if kind == "gumbel":
        noise = y.uniform_(generator=generator).clamp_(min=torch.finfo(y.dtype).tiny)
        return arguments[0] - arguments[1] * torch.log(-torch.log(noise))
    raise ValueError(f"Unknown random distribution '{kind}'.")


def random_distribution(node: Node) -> Kernel:
    kind = node.attributes["randomDistributionType"]
    arguments = [float(v) for v in node.attributes["randomDistributionArgs"]]
    generator = _generator(node)
    shape = node.result.shape
    dtype = _TORCH_TYPES[int(node.attributes.get("newDataType", 1))]

    def like(x: torch.Tensor) -> torch.Tensor:
        return _draw(kind, arguments, torch.empty_like(x, requires_grad=False), generator(x.device))

    def alone() -> torch.Tensor:
        from ...device import torch_device

        device = torch_device()
        return _draw(kind, arguments, torch.empty(shape, dtype=dtype, device=device), generator(device))

    return like if node.operands else alone


def _check_sampling(weights: torch.Tensor, count: int, duplicates: bool) -> None:
    if bool((weights < 0).any()):
        raise ValueError("Sampling weights contain negative number.")
    if not duplicates and count > weights.numel():
        raise ValueError(
            "The number of requested samples must not exceed the number of classes when sampling without "
            "duplicates."
        )


def random_sample(node: Node) -> Kernel:
    """One-hot rows of classes drawn by weight."""
    count = int(node.attributes["numSamples"])
    duplicates = bool(node.attributes["allowDuplicates"])
    generator = _generator(node)

    def run(weights: torch.Tensor) -> torch.Tensor:
        _check_sampling(weights, count, duplicates)
        picked = torch.multinomial(
            weights.detach().reshape(-1), count, replacement=duplicates, generator=generator(weights.device)
        )
        return torch.nn.functional.one_hot(picked, weights.numel()).to(weights.dtype)

    return run


def inclusion_frequency(node: Node) -> Kernel:
    """How often each class is expected in a sample: exact with duplicates, else the solution of the
    equation that the expected number of distinct classes obeys."""
    count = int(node.attributes["numSamples"])
    duplicates = bool(node.attributes["allowDuplicates"])

    def run(weights: torch.Tensor) -> torch.Tensor:
        _check_sampling(weights, count, duplicates)
        p = (weights / weights.sum()).detach()
        if duplicates:
            return p * count
        low, high = float(count), 1e6 * count
        for _ in range(100):
            tries = (low + high) / 2
            if (1 - (1 - p) ** tries).sum() < count:
                low = tries
            else:
                high = tries
        return 1 - (1 - p) ** ((low + high) / 2)

    return run


BUILDERS: dict[Op, Any] = {
    Op.Assign: assign,
    Op.RandomDistribution: random_distribution,
    Op.RandomSample: random_sample,
    Op.RandomSampleInclusionFrequency: inclusion_frequency,
}
