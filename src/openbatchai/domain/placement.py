"""Scheduling as a pure function: `plan(view, now)` gives the decisions that follow from what is there.

Per cluster, jobs start in strict order of priority, then submission; a job gets all its nodes or none. A job
that can never fit its cluster is passed over: it waits, and blocks nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .clusters import Deallocation, NodeState, Scale


@dataclass(frozen=True)
class NodeView:
    id: str
    state: NodeState
    since: datetime
    job_id: int | None = None
    leave_after_run: bool = False


@dataclass(frozen=True)
class QueuedJob:
    id: int
    priority: int
    node_count: int


@dataclass(frozen=True)
class ClusterView:
    id: int
    scale: Scale
    target: int
    deleting: bool
    nodes: tuple[NodeView, ...]
    queue: tuple[QueuedJob, ...] = ()


@dataclass(frozen=True)
class SetTarget:
    cluster_id: int
    target: int


@dataclass(frozen=True)
class AddNodes:
    cluster_id: int
    count: int


@dataclass(frozen=True)
class ReleaseNode:
    node_id: str


@dataclass(frozen=True)
class VacateNode:
    """A running node has to go; `how` says what becomes of its job."""

    node_id: str
    job_id: int
    how: Deallocation


@dataclass(frozen=True)
class StartJob:
    job_id: int
    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class Settle:
    """The node count equals the target: the cluster is steady."""

    cluster_id: int


Decision = SetTarget | AddNodes | ReleaseNode | VacateNode | StartJob | Settle

# Who goes first when a cluster shrinks.
_LEAVING_ORDER = (NodeState.UNUSABLE, NodeState.IDLE, NodeState.PREPARING)
_ON_DUTY = frozenset({NodeState.PREPARING, NodeState.IDLE, NodeState.RUNNING, NodeState.UNUSABLE})


def plan(clusters: Sequence[ClusterView], now: datetime, idle_timeout: timedelta) -> list[Decision]:
    """Decisions for all clusters; applying them all keeps every rule above."""
    return [decision for cluster in clusters for decision in _plan_cluster(cluster, now, idle_timeout)]


def next_deadline(clusters: Sequence[ClusterView], now: datetime, idle_timeout: timedelta) -> datetime | None:
    """When time alone will change the plan: the next idle or unusable node of an autoscale cluster to time
    out. One that timed out and had to stay waits for a change, not for a time."""
    times = [
        node.since + idle_timeout
        for cluster in clusters
        if cluster.scale.automatic and not cluster.deleting
        for node in cluster.nodes
        if node.state is NodeState.UNUSABLE
        or (node.state is NodeState.IDLE and cluster.target > cluster.scale.minimum)
    ]
    return min((time for time in times if time > now), default=None)


def queue_length_that_matters(scale: Scale, nodes: Sequence[NodeView]) -> int:
    """How many of a cluster's jobs that fit, from the head of its queue, can change the plan: every job takes
    a node at least, so no more can start than nodes are idle, and no more can be wanted than the maximum."""
    idle = sum(node.state is NodeState.IDLE for node in nodes)
    return scale.maximum if scale.automatic else idle


def fitting(cluster: ClusterView) -> list[QueuedJob]:
    """The queue in order, without jobs that can never fit."""
    ordered = sorted(cluster.queue, key=lambda job: (-job.priority, job.id))
    return [job for job in ordered if job.node_count <= cluster.scale.maximum]


def _plan_cluster(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> list[Decision]:
    if cluster.deleting:
        return [
            ReleaseNode(node.id)
            for node in cluster.nodes
            if node.state not in (NodeState.LEAVING, NodeState.RUNNING)
        ]
    decisions: list[Decision] = []
    target = _target(cluster, now, idle_timeout)
    if target != cluster.target:
        decisions.append(SetTarget(cluster.id, target))
    spent = _spent(cluster, now, idle_timeout)
    decisions += [ReleaseNode(node.id) for node in spent]
    on_duty = [
        node
        for node in cluster.nodes
        if node.state in _ON_DUTY and not node.leave_after_run and node not in spent
    ]
    leaving: set[str] = set()
    if len(on_duty) < target:
        decisions.append(AddNodes(cluster.id, target - len(on_duty)))
    elif len(on_duty) > target:
        leave = _leavers(on_duty, len(on_duty) - target)
        leaving = {node.id for node in leave}
        decisions += [_leave(node, cluster.scale.deallocation) for node in leave]
    started = _start_jobs(cluster, [node for node in on_duty if node.id not in leaving])
    decisions += started
    if len(cluster.nodes) == target and not leaving and not spent:
        decisions.append(Settle(cluster.id))
    return decisions


def _target(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> int:
    """Autoscale: grow to the demand at once, shrink by the nodes that have been idle too long."""
    scale = cluster.scale
    if not scale.automatic:
        return scale.maximum
    busy = sum(node.state is NodeState.RUNNING for node in cluster.nodes)
    spent = len(_spent(cluster, now, idle_timeout))
    # An unusable node still counts as one of the cluster's, but no job can have it.
    useless = sum(node.state is NodeState.UNUSABLE for node in cluster.nodes) - spent
    demand = busy + useless + sum(job.node_count for job in fitting(cluster))
    if demand >= cluster.target:
        return min(max(demand, scale.minimum), scale.maximum)
    expired = spent + sum(
        node.state is NodeState.IDLE and node.since + idle_timeout <= now for node in cluster.nodes
    )
    return min(max(demand, cluster.target - expired, scale.minimum), scale.maximum)


def _spent(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> list[NodeView]:
    """Nodes that an autoscale cluster gives up: nobody resizes it by hand to get rid of unusable ones."""
    return [
        node
        for node in cluster.nodes
        if cluster.scale.automatic and node.state is NodeState.UNUSABLE and node.since + idle_timeout <= now
    ]


def _leavers(nodes: Sequence[NodeView], count: int) -> list[NodeView]:
    rank = {state: i for i, state in enumerate(_LEAVING_ORDER)}
    # Among the idle, those idle longest go first; among the running, those that started last.
    calm = sorted((n for n in nodes if n.state in rank), key=lambda n: (rank[n.state], n.since, n.id))
    busy = sorted((n for n in nodes if n.state not in rank), key=lambda n: (n.since, n.id), reverse=True)
    return [*calm, *busy][:count]


def _leave(node: NodeView, how: Deallocation) -> Decision:
    if node.state is NodeState.RUNNING and node.job_id is not None:
        return VacateNode(node.id, node.job_id, how)
    return ReleaseNode(node.id)


def _start_jobs(cluster: ClusterView, nodes: Sequence[NodeView]) -> list[StartJob]:
    free = sorted((n for n in nodes if n.state is NodeState.IDLE), key=lambda n: n.id)
    started = []
    for job in fitting(cluster):
        if job.node_count > len(free):
            break
        started.append(StartJob(job.id, tuple(node.id for node in free[: job.node_count])))
        free = free[job.node_count :]
    return started
