"""Criteria that are one operation in CNTK, and the fused forms of those that are blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...variables import _Stored
from ..layout import Layout
from ..opcodes import Op
from .node import Kernel, Node


def cross_entropy(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """logsumexp(z) - z . label per sample, for rank-1 operands."""
    return torch.logsumexp(z, -1, keepdim=True) - (z * label).sum(-1, keepdim=True)


def classification_error(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """1 - label at the first maximum of z, for rank-1 operands."""
    with torch.no_grad():
        return 1.0 - label.gather(-1, z.argmax(-1, keepdim=True))


def sparse_cross_entropy(z: torch.Tensor, label: Any) -> torch.Tensor:
    """`cross_entropy` for labels that are SparseRows."""
    if not label.single:
        return cross_entropy(z, label.dense())
    columns, values = label.columns.reshape(*label.lead, 1), label.values.reshape(*label.lead, 1)
    picked: torch.Tensor = z.gather(-1, columns) * values
    return torch.logsumexp(z, -1, keepdim=True) - picked


def sparse_classification_error(z: torch.Tensor, label: Any) -> torch.Tensor:
    """`classification_error` for labels that are SparseRows."""
    if not label.single:
        return classification_error(z, label.dense())
    columns, values = label.columns.reshape(*label.lead, 1), label.values.reshape(*label.lead, 1)
    with torch.no_grad():
        return 1.0 - torch.where(z.argmax(-1, keepdim=True) == columns, values, 0.0)


def _rows(x: torch.Tensor, lead: int, layouts: Sequence[Layout]) -> torch.Tensor:
    """All samples of a batch or of sequences, one after the other: [samples, *shape]."""
    if lead == 0:
        return x.unsqueeze(0)
    if lead == 1:
        return x
    layout = layouts[0]
    return x.reshape(-1, *x.shape[2:]) if layout.uniform else x[layout.mask(x.device)]


class _EvaluationOnly(torch.autograd.Function):
    """A value whose gradient is refused, with CNTK's words."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, text: str, kind: type[Exception], *_: Any) -> torch.Tensor:
        ctx.text, ctx.kind, ctx.count = text, kind, len(_)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        raise ctx.kind(ctx.text)


def top_n_error(node: Node) -> Kernel:
    """How many samples have none of the N best scores at their label."""
    count_operand = node.operands[2] if len(node.operands) > 2 else None
    count = int(count_operand.value) if isinstance(count_operand, _Stored) else 1
    leads = node.leads

    def run(z: torch.Tensor, label: torch.Tensor, *rest: Any) -> torch.Tensor:
        layouts = [r for r in rest if isinstance(r, Layout)]
        scores, labels = _rows(z, leads[0], layouts), _rows(label, leads[1], layouts)
        with torch.no_grad():
            right = labels.flatten(1).argmax(1, keepdim=True)
            best = scores.flatten(1).topk(count, 1).indices
            wrong: torch.Tensor = (best != right).all(1).sum().to(z.dtype)
        if not (z.requires_grad or label.requires_grad):
            return wrong
        text = "ClassificationError operation is used for evaluation only."
        refuse: Kernel = _EvaluationOnly.apply
        result: torch.Tensor = refuse(wrong, text, RuntimeError, z, label)
        return result

    return run


def logistic(node: Node) -> Kernel:
    """The weighted logistic loss of (output, target, weight), summed over all samples."""
    leads = node.leads

    def run(
        output: torch.Tensor, label: torch.Tensor, weight: torch.Tensor, *layouts: Layout
    ) -> torch.Tensor:
        given = zip((output, label, weight), leads, strict=True)
        p, y, w = (_rows(x, lead, layouts) for x, lead in given)
        loss: torch.Tensor = -(w * (y * p.log() + (1 - y) * (1 - p).log())).sum()
        return loss

    return run


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    cosine: torch.Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return cosine


def cosine_distance(node: Node) -> Kernel:
    first, second = node.leads
    return lambda a, b: _cosine(a.flatten(first), b.flatten(second))


def _number(node: Node, index: int) -> int:
    operand = node.operands[index]
    assert isinstance(operand, _Stored)
    return int(operand.value)


def negative_samples(node: Node) -> Kernel:
    """The cosine with the sample's own partner, then with those of later samples."""
    shift, count = _number(node, 2), _number(node, 3)

    def run(a: torch.Tensor, b: torch.Tensor, *_: Any) -> torch.Tensor:
        lead = a.shape[: node.lead]
        if node.lead == 2:  # in CNTK's order of a minibatch's frames: all first ones, then the next
            a, b = (v.transpose(0, 1).flatten(0, 1) for v in (a, b))
        columns = [_cosine(a, b)]
        columns += [_cosine(a, b.roll(-(shift + i), 0)) for i in range(count)]
        found = torch.stack(columns, 1)
        return found if node.lead == 1 else found.reshape(*reversed(lead), -1).transpose(0, 1)

    return run


def _groups(group: torch.Tensor) -> list[list[int]]:
    found: dict[float, list[int]] = {}
    for i, value in enumerate(group.reshape(-1).tolist()):
        found.setdefault(value, []).append(i)
    return list(found.values())


def _ranked(score: list[float], rows: list[int]) -> list[int]:
    """The rows by falling score."""
    return sorted(rows, key=lambda i: -score[i])


class _LambdaRank(torch.autograd.Function):
    """1 - NDCG@1 per query as the value, and the lambdas of pairs as the gradient."""

    @staticmethod
    def forward(ctx: Any, score: torch.Tensor, gain: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        scores, gains = score.reshape(-1).double(), gain.reshape(-1).double()
        gradient = torch.zeros_like(scores)
        loss = torch.zeros((), dtype=torch.float64)
        for rows in _groups(group):
            order = _ranked(scores.tolist(), rows)
            position = {row: rank for rank, row in enumerate(order)}
            ideal = sorted((gains[i].item() for i in rows), reverse=True)
            best = sum(g / math.log(2 + rank) for rank, g in enumerate(ideal))
            if best == 0:
                continue
            for i in rows:
                for j in rows:
                    if gains[i] <= gains[j]:
                        continue
                    discount = abs(1 / math.log(2 + position[i]) - 1 / math.log(2 + position[j]))
                    weight = abs((gains[i] - gains[j]).item()) * discount / best
                    difference = (scores[i] - scores[j]).item()
                    loss += weight * math.log1p(math.exp(-difference))
                    push = weight / (1 + math.exp(difference))
                    gradient[i] -= push
                    gradient[j] += push
        ctx.save_for_backward(gradient.to(score.dtype).reshape(score.shape))
        return loss.to(score.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return gradient * slopes, None, None


def lambda_rank(node: Node) -> Kernel:
    apply: Kernel = _LambdaRank.apply
    return apply


def ndcg(node: Node) -> Kernel:
    """NDCG at the first place, averaged over the queries and summed over the documents."""

    def run(score: torch.Tensor, gain: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
        scores, gains = score.reshape(-1).tolist(), gain.reshape(-1).tolist()
        groups = _groups(group)
        values = []
        for rows in groups:
            best = max(gains[i] for i in rows)
            values.append(gains[_ranked(scores, rows)[0]] / best if best else 0.0)
        mean = sum(values) / len(values)
        return torch.tensor(mean * len(scores), dtype=score.dtype, device=score.device)

    return run


def edit_distance(node: Node) -> Kernel:
    """Insertions, deletions and substitutions between the best labels of two sequences, over the length
    of the second one."""
    attributes = node.attributes
    substitution, deletion, insertion = (
        float(attributes[key]) for key in ("SubstitutionPenalty", "DeletionPenalty", "InsertionPenalty")
    )
    squash = bool(attributes.get("SquashInputs", False))
    ignored = {int(token) for token in attributes.get("TokensToIgnore") or []}

    def labels(row: torch.Tensor) -> list[int]:
        tokens = row.flatten(1).argmax(1).tolist()
        if squash:
            tokens = [t for i, t in enumerate(tokens) if i == 0 or t != tokens[i - 1]]
        return [t for t in tokens if t not in ignored]

    def distance(a: list[int], b: list[int]) -> float:
        line = [j * insertion for j in range(len(b) + 1)]
        for i, x in enumerate(a, 1):
            previous, line[0] = line[0], i * deletion
            for j, y in enumerate(b, 1):
                kept = previous + (0.0 if x == y else substitution)
                previous, line[j] = line[j], min(kept, line[j] + deletion, line[j - 1] + insertion)
        return line[-1]

    def run(a: torch.Tensor, b: torch.Tensor, first: Layout, second: Layout) -> torch.Tensor:
        total, length, frames = 0.0, 0, 0
        for i, (m, n) in enumerate(zip(first.lengths.tolist(), second.lengths.tolist(), strict=True)):
            left, right = labels(a[i, :m]), labels(b[i, :n])
            total += distance(left, right)
            length += len(right)
            frames += m
        return torch.tensor(total / max(length, 1) * frames, dtype=a.dtype, device=a.device)

    return run


BUILDERS: dict[Op, Any] = {
    Op.ClassificationError: top_n_error,
    Op.Logistic: logistic,
    Op.CosDistance: cosine_distance,
    Op.CosDistanceWithNegativeSamples: negative_samples,
    Op.LambdaRank: lambda_rank,
    Op.NDCG: ndcg,
    Op.EditDistanceError: edit_distance,
}
