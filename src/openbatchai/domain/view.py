"""What the scheduler looks at, kept up to date by the changes that transactions make.

`Change`s are the rows that matter, as they are after a write; `View.take` applies them in the order of their
commits. A view loaded from the store and one kept by changes are equal.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from .clusters import NodeState, Scale
from .jobs import LIVE, ExecutionState
from .waiting import QueuedJob, WaitingJobs


@dataclass(frozen=True, slots=True)
class ClusterChange:
    id: int
    scale: Scale
    target: int
    deleting: bool
    resizing: bool
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class NodeChange:
    id: str
    cluster_id: int
    state: NodeState
    since: datetime
    run_id: str
    leave_after_run: bool
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class JobChange:
    id: int
    cluster_id: int
    state: ExecutionState
    priority: int
    node_count: int
    limit_s: int
    run_id: str
    started: datetime | None


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task of a job's run is over: the run may go on, or end."""

    job_id: int


@dataclass(frozen=True, slots=True)
class ClusterGone:
    id: int


@dataclass(frozen=True, slots=True)
class NodeGone:
    id: str


@dataclass(frozen=True, slots=True)
class EffectQueued:
    kind: str


@dataclass(frozen=True, slots=True)
class OperationOpened:
    """Something is to be removed, or waited for, until it is done."""


Change = (
    ClusterChange
    | NodeChange
    | JobChange
    | TaskEnded
    | ClusterGone
    | NodeGone
    | EffectQueued
    | OperationOpened
)


@dataclass(frozen=True, slots=True)
class NodeView:
    """`attempt`: how many unusable nodes were replaced, one after the other, by this one."""

    id: str
    state: NodeState
    since: datetime
    run_id: str = ""
    leave_after_run: bool = False
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class RunView:
    """The present run of a job; `until` is when its limit ends it, if nothing did before."""

    run_id: str
    until: datetime


class ClusterView:
    """One cluster with its nodes by state, its queue and its runs by their job. `idle_s` is how long it keeps
    an idle node, where that is its own."""

    def __init__(
        self,
        id: int,
        scale: Scale,
        target: int,
        *,
        deleting: bool = False,
        resizing: bool = False,
        nodes: Iterable[NodeView] = (),
        queue: Iterable[QueuedJob] = (),
        runs: Iterable[tuple[int, RunView]] = (),
        idle_s: float | None = None,
    ) -> None:
        self.id = id
        self.idle_s = idle_s
        self.scale = scale
        self.target = target
        self.deleting = deleting
        self.resizing = resizing
        self.queue = WaitingJobs(queue)
        self.runs = dict(runs)
        self._nodes: dict[NodeState, dict[str, NodeView]] = {state: {} for state in NodeState}
        self._states: dict[str, NodeState] = {}
        for node in nodes:
            self.put(node)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterView) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClusterView({vars(self)})"

    def __len__(self) -> int:
        """The nodes, leaving ones included."""
        return len(self._states)

    def put(self, node: NodeView) -> None:
        self.drop(node.id)
        self._nodes[node.state][node.id] = node
        self._states[node.id] = node.state

    def drop(self, node_id: str) -> None:
        before = self._states.pop(node_id, None)
        if before is not None:
            del self._nodes[before][node_id]

    def nodes(self) -> Iterator[NodeView]:
        for found in self._nodes.values():
            yield from found.values()

    def of(self, state: NodeState) -> Collection[NodeView]:
        return self._nodes[state].values()


class View:
    """All clusters. `changed` are those that a plan may find something for, `runs_due` the jobs whose run may
    go on or end: whoever works on them takes them out."""

    def __init__(self) -> None:
        self.clusters: dict[int, ClusterView] = {}
        self.changed: set[int] = set()
        self.runs_due: set[int] = set()
        self._cluster_of_node: dict[str, int] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.clusters == other.clusters

    __hash__ = None  # type: ignore[assignment]

    def take(self, change: Change) -> None:
        match change:
            case ClusterChange():
                self._take_cluster(change)
            case NodeChange():
                self._take_node(change)
            case JobChange():
                self._take_job(change)
            case TaskEnded(job_id):
                self.runs_due.add(job_id)
            case ClusterGone(cluster_id):
                self.clusters.pop(cluster_id, None)
                self.changed.discard(cluster_id)
            case NodeGone(node_id):
                self._drop_node(node_id)
            case EffectQueued() | OperationOpened():
                pass  # nothing that a plan looks at

    def _take_cluster(self, change: ClusterChange) -> None:
        cluster = self.clusters.get(change.id)
        if cluster is None:
            cluster = self.clusters[change.id] = ClusterView(change.id, change.scale, change.target)
        cluster.scale, cluster.target = change.scale, change.target
        cluster.deleting, cluster.resizing = change.deleting, change.resizing
        cluster.idle_s = change.idle_s
        self.changed.add(change.id)

    def _take_node(self, change: NodeChange) -> None:
        node = NodeView(
            change.id, change.state, change.since, change.run_id, change.leave_after_run, change.attempt
        )
        self.put_node(change.cluster_id, node)

    def put_node(self, cluster_id: int, node: NodeView) -> None:
        cluster = self.clusters.get(cluster_id)
        if cluster is not None:
            cluster.put(node)
            self._cluster_of_node[node.id] = cluster_id
            self.changed.add(cluster_id)

    def _drop_node(self, node_id: str) -> None:
        cluster_id = self._cluster_of_node.pop(node_id, None)
        if cluster_id is not None and cluster_id in self.clusters:
            self.clusters[cluster_id].drop(node_id)
            self.changed.add(cluster_id)

    def _take_job(self, change: JobChange) -> None:
        cluster = self.clusters.get(change.cluster_id)
        if cluster is None:
            return
        if change.state is ExecutionState.QUEUED:
            cluster.queue.add(QueuedJob(change.id, change.priority, change.node_count, change.limit_s))
        else:
            cluster.queue.discard(change.id, change.priority, change.node_count)
        if change.state in LIVE and change.started is not None:
            until = change.started + timedelta(seconds=change.limit_s)
            cluster.runs[change.id] = RunView(change.run_id, until)
        else:
            cluster.runs.pop(change.id, None)
        self.changed.add(change.cluster_id)
