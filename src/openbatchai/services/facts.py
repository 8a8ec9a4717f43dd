"""Node facts as rows keep them."""

from dataclasses import asdict

from openbatchai.domain.model import Json, Node
from openbatchai.domain.ports import NodeFacts


def facts_of(node: Node) -> NodeFacts:
    return NodeFacts(**node.facts)


def to_row(facts: NodeFacts) -> Json:
    return asdict(facts)
