"""The torch computation of every primitive.

A builder gets the node's static facts once and returns the callable that runs per minibatch.
"""

from __future__ import annotations

from collections.abc import Callable

from ..infer.products import REDUCE_SEQUENCE_AXIS
from ..infer.reductions import Over, reduced_over
from ..missing import unavailable
from ..opcodes import Op
from . import convolution as _convolution
from . import criteria, elementwise, normalization, products, reductions, sequences, shapes, stateful
from .node import Kernel, Node

convolution = _convolution.convolution
dense = products.dense
sparse_product = products.sparse_product

_BUILDERS: dict[Op, Callable[[Node], Kernel]] = {
    **elementwise.BUILDERS,
    **products.BUILDERS,
    **_convolution.BUILDERS,
    **normalization.BUILDERS,
    **reductions.BUILDERS,
    **shapes.BUILDERS,
    **sequences.BUILDERS,
    **criteria.BUILDERS,
    **stateful.BUILDERS,
}

# Operands whose layout (when they are sequences) a kernel gets behind its tensors.
_LAYOUTS: dict[Op, tuple[int, ...]] = {
    Op.PastValue: (0, 1),
    Op.FutureValue: (0, 1),
    Op.Where: (0,),
    Op.ScatterPacked: (0,),
    Op.UnpackSequence: (0,),
    Op.BatchNormalization: (0,),
    Op.ClassificationError: (0,),
    Op.Logistic: (0,),
    Op.EditDistanceError: (0, 1),
}


def layouts_of(node: Node) -> list[int]:
    """The operands whose layout the kernel of a node wants."""
    wanted = _LAYOUTS.get(node.op, ())
    if node.op is Op.ReduceElements and reduced_over(node.attributes) is not Over.STATIC:
        wanted = (0,)
    if node.op is Op.Times and node.attributes.get("inferInputRankToMap") == REDUCE_SEQUENCE_AXIS:
        wanted = (1,)
    if node.op is Op.CustomProxyOp:
        wanted = tuple(range(len(node.operands)))
    return [index for index in wanted if node.leads[index] == 2]


def build(node: Node) -> Kernel:
    if node.op is Op.CustomProxyOp:
        from ...ops import user  # the graph's side of user functions knows the kernels

        return user.build(node)
    builder = _BUILDERS.get(node.op)
    if builder is None:
        raise unavailable(f"computing the operation {node.op.name}")
    return builder(node)


def build_layout(node: Node) -> Kernel | None:
    """What makes the layout of the sequence axis that an operation gives rise to, if it does."""
    builder = sequences.LAYOUT_BUILDERS.get(node.op)
    made: Kernel | None = builder(node) if builder is not None else None
    return made


__all__ = [
    "Kernel",
    "Node",
    "build",
    "build_layout",
    "convolution",
    "criteria",
    "dense",
    "layouts_of",
    "sparse_product",
]
