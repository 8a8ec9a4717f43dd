"""Scheduling as a pure function: `plan(cluster, now, idle_timeout)` gives the decisions that follow.

The rule, per cluster. Jobs start in strict order of priority, then submission; a job gets all its nodes or
none. The first that has to wait for nodes gets a reservation: the time at which, by the limits of what runs,
enough nodes are free at the latest. A later job may go first only where that time does not move: when it is
sure to be over by then, or takes nodes that the first will not need. A job that can never fit its cluster, or
for which too few usable nodes are left, waits and holds nothing back.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from .clusters import Deallocation, NodeState
from .view import ClusterView, NodeView
from .waiting import QueuedJob

# How many jobs behind one that waits for nodes are looked at for one that may go first.
BACKFILL_DEPTH = 100


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
class ReplaceNode:
    """An unusable node makes room for another one."""

    node_id: str


@dataclass(frozen=True)
class VacateNode:
    """A running node has to go; `how` says what becomes of its job."""

    node_id: str
    run_id: str
    how: Deallocation


@dataclass(frozen=True)
class StartJob:
    """`passed` is the job that waits with a reservation, when this one goes before it."""

    job_id: int
    node_ids: tuple[str, ...]
    passed: int | None = None


@dataclass(frozen=True)
class Settle:
    """The node count equals the target: the cluster is steady."""

    cluster_id: int


Decision = SetTarget | AddNodes | ReleaseNode | ReplaceNode | VacateNode | StartJob | Settle

# An unusable node is replaced as often as there are pauses here; what failed may be over by then. In an
# autoscale cluster the last pause is that before every later one: nobody resizes it by hand, and its queue is
# to go on by itself when the cause is gone.
REPLACEMENT_PAUSES = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=6))

# Who goes first when a cluster shrinks.
_LEAVING_ORDER = (NodeState.UNUSABLE, NodeState.IDLE, NodeState.PREPARING)


def plan(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> list[Decision]:
    """Decisions for one cluster. Applying them in order keeps every rule above, also if of the StartJobs only
    the first are applied."""
    if cluster.deleting:
        staying = (NodeState.LEAVING, NodeState.RUNNING)
        return [ReleaseNode(node.id) for node in _sorted(cluster) if node.state not in staying]
    target = target_of(cluster, now, idle_timeout)
    spent = _spent(cluster, now, idle_timeout)
    leave = _leavers(cluster, target, spent)
    decisions: list[Decision] = []
    if target != cluster.target:
        decisions.append(SetTarget(cluster.id, target))
    decisions += [ReleaseNode(node.id) for node in spent]
    if to_add := nodes_to_come(cluster, target, len(spent)):
        decisions.append(AddNodes(cluster.id, to_add))
    decisions += [_leave(node, cluster.scale.deallocation) for node in leave]
    gone = {node.id for node in (*spent, *leave)}
    replaced = [node for node, due in _to_replace(cluster) if due <= now and node.id not in gone]
    decisions += [ReplaceNode(node.id) for node in replaced]
    decisions += plan_starts(cluster, now, idle_timeout)[0]
    if cluster.resizing and len(cluster) == target and not (leave or spent or replaced):
        decisions.append(Settle(cluster.id))
    return decisions


def plan_starts(
    cluster: ClusterView, now: datetime, idle_timeout: timedelta
) -> "tuple[list[StartJob], Reservation | None]":
    """The jobs that start, and the reservation of the first that has to wait."""
    target = target_of(cluster, now, idle_timeout)
    spent = _spent(cluster, now, idle_timeout)
    gone = {node.id for node in (*spent, *_leavers(cluster, target, spent))}
    return _start_jobs(cluster, gone, nodes_to_come(cluster, target, len(spent)), now, idle_timeout)


def nodes_to_come(cluster: ClusterView, target: int, spent: int = 0) -> int:
    """The nodes that are missing to the target."""
    return max(target - _on_duty(cluster) + spent, 0)


def next_deadline(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> datetime | None:
    """When time alone will change the plan: the next unusable node to be replaced; of an autoscale cluster,
    the next idle or unusable one to time out. One that timed out and had to stay waits for a change, not for
    a time."""
    if cluster.deleting:
        return None
    times = [due for _, due in _to_replace(cluster)]
    if cluster.scale.automatic:
        given_up = (_given_up(cluster, node, idle_timeout) for node in cluster.of(NodeState.UNUSABLE))
        times += [time for time in given_up if time is not None]
        if cluster.target > cluster.scale.minimum:
            times += [node.since + idle_timeout for node in cluster.of(NodeState.IDLE)]
    return min((time for time in times if time > now), default=None)


def _to_replace(cluster: ClusterView) -> list[tuple[NodeView, datetime]]:
    """Unusable nodes that will be replaced, and when."""
    if not _wants_replacements(cluster):
        return []
    last = len(REPLACEMENT_PAUSES) - 1
    return [
        (node, node.since + REPLACEMENT_PAUSES[min(node.attempt, last)])
        for node in sorted(cluster.of(NodeState.UNUSABLE), key=lambda node: node.id)
        if node.attempt <= last or cluster.scale.automatic
    ]


def _wants_replacements(cluster: ClusterView) -> bool:
    """An autoscale cluster with more nodes than its minimum replaces none that no job waits for."""
    scale = cluster.scale
    spare = scale.automatic and cluster.target > scale.minimum
    return not spare or cluster.queue.nodes_wanted(scale.maximum) > 0


def _given_up(cluster: ClusterView, node: NodeView, idle_timeout: timedelta) -> datetime | None:
    """When an autoscale cluster gives an unusable node up; None for one that will be replaced."""
    return None if _wants_replacements(cluster) else node.since + idle_timeout


def _sorted(cluster: ClusterView) -> list[NodeView]:
    return sorted(cluster.nodes(), key=lambda node: node.id)


def _on_duty(cluster: ClusterView) -> int:
    """The nodes that are to stay."""
    leaving = len(cluster.of(NodeState.LEAVING))
    return len(cluster) - leaving - sum(node.leave_after_run for node in cluster.of(NodeState.RUNNING))


def target_of(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> int:
    """Autoscale: grow to the demand at once, shrink by the nodes that have been idle too long.

    It does not grow around unusable nodes: they are replaced, each after its pause. What fails on one node
    mostly does so on the next, and the cluster would be at its maximum at once.
    """
    scale = cluster.scale
    if not scale.automatic:
        return scale.maximum
    spent = len(_spent(cluster, now, idle_timeout))
    demand = len(cluster.of(NodeState.RUNNING)) + cluster.queue.nodes_wanted(scale.maximum)
    if demand >= cluster.target:
        return min(max(demand, scale.minimum), scale.maximum)
    expired = spent + sum(node.since + idle_timeout <= now for node in cluster.of(NodeState.IDLE))
    return min(max(demand, cluster.target - expired, scale.minimum), scale.maximum)


def _spent(cluster: ClusterView, now: datetime, idle_timeout: timedelta) -> list[NodeView]:
    """Nodes that an autoscale cluster gives up: nobody resizes it by hand to get rid of unusable ones."""
    if not cluster.scale.automatic:
        return []
    found = [
        node
        for node in cluster.of(NodeState.UNUSABLE)
        if (time := _given_up(cluster, node, idle_timeout)) is not None and time <= now
    ]
    return sorted(found, key=lambda node: node.id)


def _leavers(cluster: ClusterView, target: int, spent: Sequence[NodeView]) -> list[NodeView]:
    """Who has to go for the cluster to come down to its target."""
    count = _on_duty(cluster) - len(spent) - target
    if count <= 0:
        return []
    gone = {node.id for node in spent}
    rank = {state: i for i, state in enumerate(_LEAVING_ORDER)}
    nodes = [node for state in _LEAVING_ORDER for node in cluster.of(state) if node.id not in gone]
    # Among the idle, those idle longest go first; among the running, those that started last.
    calm = sorted(nodes, key=lambda n: (rank[n.state], n.since, n.id))
    busy = [node for node in cluster.of(NodeState.RUNNING) if not node.leave_after_run]
    busy.sort(key=lambda n: (n.since, n.id), reverse=True)
    return [*calm, *busy][:count]


def _leave(node: NodeView, how: Deallocation) -> Decision:
    if node.state is NodeState.RUNNING:
        return VacateNode(node.id, node.run_id, how)
    return ReleaseNode(node.id)


@dataclass
class Reservation:
    """`job` starts at `at` at the latest; then `spare` nodes are left that it does not need."""

    job: QueuedJob
    at: datetime
    spare: int

    def lets_pass(self, job: QueuedJob, now: datetime) -> bool:
        """Whether `job`, started now, leaves the reservation as it is. Counts what it takes of the spare."""
        if now + timedelta(seconds=job.limit_s) <= self.at:
            return True
        if job.node_count > self.spare:
            return False
        self.spare -= job.node_count
        return True


def returning(
    cluster: ClusterView, gone: Set[str], to_add: int, now: datetime, idle_timeout: timedelta
) -> list[datetime]:
    """When each node that is not idle now is so at the latest; not those that leave."""
    # Nodes that come up may be ready at any moment.
    times = [now] * (to_add + sum(node.id not in gone for node in cluster.of(NodeState.PREPARING)))
    until = {run.run_id: run.until for run in cluster.runs.values()}
    times += [
        max(until.get(node.run_id, now), now)
        for node in cluster.of(NodeState.RUNNING)
        if not node.leave_after_run and node.id not in gone
    ]
    if cluster.scale.automatic:
        # Each will be replaced.
        unusable = [node for node in cluster.of(NodeState.UNUSABLE) if node.id not in gone]
        due = {node.id: time for node, time in _to_replace(cluster)}
        given_up = (due.get(node.id) or _given_up(cluster, node, idle_timeout) or now for node in unusable)
        times += [max(time, now) for time in given_up]
    return times


def _start_jobs(
    cluster: ClusterView, gone: Set[str], to_add: int, now: datetime, idle_timeout: timedelta
) -> tuple[list[StartJob], Reservation | None]:
    free = sorted(node.id for node in cluster.of(NodeState.IDLE) if node.id not in gone)
    started: list[StartJob] = []
    back: list[datetime] = []  # when the nodes of the jobs started here are free again
    held: Reservation | None = None
    looked_at = 0
    queue = cluster.queue.in_order(widest(cluster, gone, to_add))
    for job in queue:
        if held is not None:
            looked_at += 1
        fits = job.node_count <= len(free)
        if not fits and held is None:
            times = sorted(back + returning(cluster, gone, to_add, now, idle_timeout))
            at = times[job.node_count - len(free) - 1]
            there = len(free) + sum(time <= at for time in times)
            held = Reservation(job, at, there - job.node_count)
        elif fits and (held is None or held.lets_pass(job, now)):
            passed = held.job.id if held else None
            started.append(StartJob(job.id, tuple(free[: job.node_count]), passed))
            free = free[job.node_count :]
            back += [now + timedelta(seconds=job.limit_s)] * job.node_count
        if (not free and held is not None) or looked_at == BACKFILL_DEPTH:
            break
    return started, held


def widest(cluster: ClusterView, gone: Set[str], to_add: int) -> int:
    """The nodes that a job can have one day, as the cluster is: more than those, and it holds nobody back."""
    states = [NodeState.IDLE, NodeState.PREPARING, NodeState.RUNNING]
    if cluster.scale.automatic:
        # Each will be replaced.
        states.append(NodeState.UNUSABLE)
    staying = sum(
        not node.leave_after_run and node.id not in gone for state in states for node in cluster.of(state)
    )
    return min(cluster.scale.maximum, staying + to_add)
