"""Counts of what is there, under the names that Azure Monitor had for Batch AI (each metric's help text).

`cluster` and `result` are its dimensions ClusterName and ResultType. What it did not have (jobs by state,
preparing nodes, how many nodes were preempted in all, the use of running jobs) stands beside it.

A preempted node is one that was taken away and is not gone yet, whose job may be at its last words; it is
active or leaving as well. Its replacement is asked for at once and counted as any other node.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as PrometheusCounter
from sqlalchemy import func, or_, select

from openbatchai.domain import ids, quotas, vmsizes
from openbatchai.domain.clusters import NodeEvent, NodeState
from openbatchai.domain.jobs import FINISHED, ExecutionState
from openbatchai.domain.model import Node
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from .context import Context

# Azure's word -> the states it counts; None: all of them.
_WORDS = {
    "total": None,
    "active": NodeState.RUNNING,
    "idle": NodeState.IDLE,
    "unusable": NodeState.UNUSABLE,
    "leaving": NodeState.LEAVING,
    "preparing": NodeState.PREPARING,
}
_PREEMPTED = "preempted"


class Metrics:
    """Read from the store when asked. Jobs and preemptions are counted from the start of the service on, by
    their events."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: int | None = None
        self._submitted = 0
        self._preempted = 0
        self._completed: Counter[str] = Counter()

    def start(self) -> None:
        """Count from now on."""
        with self._context.store.read() as unit:
            self._seen = unit.connection.execute(select(func.max(tables.events.c.id))).scalar() or 0

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        if self._seen is None:
            self.start()
        registry = CollectorRegistry()
        with self._context.store.read() as unit:
            self._count(unit)
            _state_gauges(unit, registry)
            _node_gauges(unit, registry)
            _quota_gauges(self._context, unit, registry)
            running = unit.tasks.list(started=True, ended=False)
            names = _names(unit, {task.job_id for task in running})
        self._counters(registry)
        uses = {
            name: Gauge(f"batchai_job_{name}", text, ["job", "node"], registry=registry)
            for name, text in _USES.items()
        }
        for task in running:
            samples = self._context.engine.samples(task.id, -1) if task.job_id in names else []
            for name, gauge in uses.items() if samples else ():
                if (value := getattr(samples[-1], name)) is not None:
                    gauge.labels(names[task.job_id], task.node_id).set(value)
        return generate_latest(registry)

    def _count(self, unit: Unit) -> None:
        event = tables.events.c
        rows = select(event.id, event.kind, event.event, event.before, event.after).where(
            event.id > self._seen, or_(event.kind == "job", event.event == NodeEvent.PREEMPT)
        )
        finished = {str(state) for state in FINISHED}
        for row in unit.connection.execute(rows):
            self._seen = max(self._seen or 0, row.id)
            self._preempted += row.kind == "node"
            self._submitted += row.event == "create" and row.kind == "job"
            if row.after in finished and row.before != row.after:
                self._completed[row.after] += 1

    def _counters(self, registry: CollectorRegistry) -> None:
        submitted = PrometheusCounter("batchai_jobs_submitted", "Job Submitted", registry=registry)
        submitted.inc(self._submitted)
        text = "Low-priority nodes that were taken away"
        PrometheusCounter("batchai_preemptions", text, registry=registry).inc(self._preempted)
        completed = PrometheusCounter(
            "batchai_jobs_completed", "Job Completed", ["result"], registry=registry
        )
        for state in sorted(FINISHED):
            completed.labels(state).inc(self._completed[state])


def _names(unit: Unit, job_ids: set[int]) -> dict[int, str]:
    jobs = tables.jobs.c
    rows = unit.connection.execute(select(jobs.id, jobs.name).where(jobs.id.in_(sorted(job_ids))))
    return {row.id: row.name for row in rows}


_USES = {
    "cpu_seconds": "CPU time of a running job on a node so far, in seconds",
    "memory_bytes": "Memory of its processes, shared pages counted once for each",
    "processes": "Its processes",
    "gpu_percent": "Use of the node's GPUs, the mean of them",
    "gpu_memory_bytes": "Memory in use on the node's GPUs",
}


def _state_gauges(unit: Unit, registry: CollectorRegistry) -> None:
    jobs = Gauge("batchai_jobs", "Jobs by execution state", ["state"], registry=registry)
    nodes = Gauge("batchai_nodes", "Nodes by state", ["state"], registry=registry)
    job_column, node_column = tables.jobs.c.execution_state, tables.nodes.c.state
    job_counts = unit.connection.execute(select(job_column, func.count()).group_by(job_column))
    by_job_state = {row[0]: row[1] for row in job_counts}
    there = select(node_column, func.count()).where(tables.nodes.c.provisioned).group_by(node_column)
    by_node_state = {row[0]: row[1] for row in unit.connection.execute(there)}
    Gauge("batchai_clusters", "Clusters", registry=registry).set(unit.clusters.count())
    for job_state in ExecutionState:
        jobs.labels(job_state).set(by_job_state.get(job_state, 0))
    for node_state in NodeState:
        nodes.labels(node_state).set(by_node_state.get(node_state, 0))


def _node_gauges(unit: Unit, registry: CollectorRegistry) -> None:
    """Nodes and their cores. Cores are those of the size; of `local`, those of the machine."""
    counts: Counter[tuple[int, str]] = Counter()
    cores: Counter[tuple[int, str]] = Counter()
    clusters = {cluster.id: cluster for cluster in unit.clusters.list()}
    nodes = unit.nodes.list(provisioned=True)
    taken = _taken_away(unit, nodes)
    for node in nodes:
        size = vmsizes.CATALOGUE[clusters[node.cluster_id].spec["vmSize"]]
        words = [word for word, state in _WORDS.items() if state in (None, node.state)]
        for word in (*words, *([_PREEMPTED] if node.id in taken else [])):
            counts[node.cluster_id, word] += 1
            cores[node.cluster_id, word] += size.cores or int(node.facts.get("cores", 0))
    for what, numbers in (("nodes", counts), ("cores", cores)):
        for word in (*_WORDS, _PREEMPTED):
            title = f"{word.capitalize()} {what.capitalize()}"
            gauge = Gauge(f"batchai_{word}_{what}", title, ["cluster"], registry=registry)
            for cluster in clusters.values():
                gauge.labels(cluster.name).set(numbers[cluster.id, word])


def _taken_away(unit: Unit, nodes: Sequence[Node]) -> set[str]:
    """Those that were preempted; others leave because they are not needed any more."""
    going = [node.id for node in nodes if node.leave_after_run or node.state is NodeState.LEAVING]
    event = tables.events.c
    stories = select(event.object_id).where(event.object_id.in_(going), event.event == NodeEvent.PREEMPT)
    return set(unit.connection.scalars(stories)) if going else set()


def _quota_gauges(context: Context, unit: Unit, registry: CollectorRegistry) -> None:
    """Of the cores of all clusters together, in each region."""
    gauge = Gauge(
        "batchai_quota_utilization_percentage", "Quota Utilization Percentage", ["usage"], registry=registry
    )
    active = unit.jobs.count(execution_state=[state for state in ExecutionState if state not in FINISHED])
    regions = defaultdict(list)
    places = {parent.id: ids.region(parent.location) for parent in unit.workspaces.list()}
    for cluster in unit.clusters.list():
        regions[places[cluster.workspace_id]].append(cluster)
    highest: dict[str, float] = {}
    for found in regions.values() or ([],):
        for usage in quotas.usages(found, active, context.quotas):
            part = 100 * usage.current / usage.limit if usage.limit else 0.0
            highest[usage.name] = max(highest.get(usage.name, 0.0), part)
    for name, part in highest.items():
        gauge.labels(name).set(part)
