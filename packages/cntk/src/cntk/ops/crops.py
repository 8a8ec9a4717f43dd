"""Crops whose offset follows from the graph: where the pixels of one image lie in another."""

from __future__ import annotations

from typing import Any

from ..internal.opcodes import Op
from .construction import primitive
from .nodes import CompositeFunction


def crop_automatic(node_input: Any, node_referent: Any, name: str = "") -> CompositeFunction:
    """The part of an image that belongs to the referent, both made from one image by the graph."""
    return primitive(Op.Crop, [node_input, node_referent], {}, name)


def crop_automatic_with_ancestors(
    node_input: Any, node_referent: Any, ancestor_input: Any, ancestor_referent: Any, name: str = ""
) -> CompositeFunction:
    """Like `crop_automatic`, for images made from two different ones of the same pixels."""
    return primitive(Op.Crop, [node_input, node_referent, ancestor_input, ancestor_referent], {}, name)


__all__ = ["crop_automatic", "crop_automatic_with_ancestors"]
