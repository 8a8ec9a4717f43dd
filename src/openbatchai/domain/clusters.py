"""The life of a cluster and of its nodes (batchai-service.md section 8.2 and 8.3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .machine import Machine

# Nodes of one cluster: ten times what the real service allowed.
NODE_LIMIT = 1000


class AllocationState(StrEnum):
    STEADY = "steady"
    RESIZING = "resizing"


class AllocationEvent(StrEnum):
    RESIZE = "resize"
    SETTLED = "settled"


class NoEffect(StrEnum):
    """Allocation changes what is shown, nothing else."""


ALLOCATION: Machine[AllocationState, AllocationEvent, NoEffect] = Machine(
    "cluster",
    {
        (AllocationState.STEADY, AllocationEvent.RESIZE): (AllocationState.RESIZING, ()),
        (AllocationState.RESIZING, AllocationEvent.RESIZE): (AllocationState.RESIZING, ()),
        (AllocationState.RESIZING, AllocationEvent.SETTLED): (AllocationState.STEADY, ()),
    },
)


class NodeState(StrEnum):
    PREPARING = "preparing"
    IDLE = "idle"
    RUNNING = "running"
    UNUSABLE = "unusable"
    LEAVING = "leaving"


class NodeEvent(StrEnum):
    PREPARED = "prepared"
    PREPARATION_FAILED = "preparationFailed"
    RUN_ASSIGNED = "runAssigned"
    RUN_ENDED = "runEnded"
    RELEASE = "release"
    PREEMPT = "preempt"


class NodeEffect(StrEnum):
    RELEASE = "release"


_S, _E = NodeState, NodeEvent
_RELEASE = (NodeEffect.RELEASE,)

NODE = Machine(
    "node",
    {
        (_S.PREPARING, _E.PREPARED): (_S.IDLE, ()),
        (_S.PREPARING, _E.PREPARATION_FAILED): (_S.UNUSABLE, ()),
        (_S.PREPARING, _E.RELEASE): (_S.LEAVING, _RELEASE),
        (_S.PREPARING, _E.PREEMPT): (_S.LEAVING, _RELEASE),
        (_S.IDLE, _E.RUN_ASSIGNED): (_S.RUNNING, ()),
        (_S.IDLE, _E.RELEASE): (_S.LEAVING, _RELEASE),
        (_S.IDLE, _E.PREEMPT): (_S.LEAVING, _RELEASE),
        (_S.RUNNING, _E.RUN_ENDED): (_S.IDLE, ()),
        # Its run is stopped; then it leaves.
        (_S.RUNNING, _E.PREEMPT): (_S.RUNNING, ()),
        (_S.UNUSABLE, _E.RELEASE): (_S.LEAVING, _RELEASE),
        (_S.UNUSABLE, _E.PREEMPT): (_S.LEAVING, _RELEASE),
        (_S.LEAVING, _E.PREPARED): (_S.LEAVING, ()),
        (_S.LEAVING, _E.PREPARATION_FAILED): (_S.LEAVING, ()),
        (_S.LEAVING, _E.RELEASE): (_S.LEAVING, ()),
    },
)


class Deallocation(StrEnum):
    """What becomes of a running job when its node has to go."""

    REQUEUE = "requeue"
    TERMINATE = "terminate"
    WAIT = "waitforjobcompletion"


@dataclass(frozen=True)
class Scale:
    """Scale settings as numbers; a manual cluster has minimum == maximum."""

    minimum: int
    maximum: int
    initial: int
    automatic: bool
    deallocation: Deallocation = Deallocation.REQUEUE


def scale_of(spec: Mapping[str, Any]) -> Scale:
    """Scale settings of a cluster's canonical properties (none at all: a manual cluster of no nodes)."""
    settings = spec.get("scaleSettings") or {}
    if auto := settings.get("autoScale"):
        low, high = auto["minimumNodeCount"], auto["maximumNodeCount"]
        return Scale(low, high, min(max(auto.get("initialNodeCount") or 0, low), high), True)
    manual = settings.get("manual") or {}
    count = manual.get("targetNodeCount") or 0
    return Scale(
        count, count, count, False, Deallocation(manual.get("nodeDeallocationOption") or Deallocation.REQUEUE)
    )


def count_states(states: Iterable[NodeState]) -> dict[str, int]:
    """`nodeStateCounts`: always all five."""
    counts = dict.fromkeys(
        (NodeState.IDLE, NodeState.RUNNING, NodeState.PREPARING, NodeState.UNUSABLE, NodeState.LEAVING), 0
    )
    for state in states:
        counts[state] += 1
    return {f"{state}NodeCount": count for state, count in counts.items()}
