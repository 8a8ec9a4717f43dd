"""Counts of what is there, under the names that Azure Monitor had for Batch AI (each metric's help text).

`cluster` and `result` are its dimensions ClusterName and ResultType. What it did not have (jobs by state,
preparing nodes, the use of running jobs) stands beside it.
"""

from collections import Counter, defaultdict

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as PrometheusCounter
from sqlalchemy import func, select

from openbatchai.domain import ids, quotas, vmsizes
from openbatchai.domain.clusters import NodeState
from openbatchai.domain.jobs import FINISHED, ExecutionState
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


class Metrics:
    """Read from the store when asked. Jobs are counted from the start of the service on, by their events."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: int | None = None
        self._submitted = 0
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
            self._count_jobs(unit)
            _state_gauges(unit, registry)
            _node_gauges(unit, registry)
            _quota_gauges(self._context, unit, registry)
            running = unit.tasks.list(started=True, ended=False)
            names = _names(unit, {task.job_id for task in running})
        self._job_counters(registry)
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

    def _count_jobs(self, unit: Unit) -> None:
        event = tables.events.c
        rows = select(event.id, event.event, event.before, event.after).where(
            event.id > self._seen, event.kind == "job"
        )
        finished = {str(state) for state in FINISHED}
        for row in unit.connection.execute(rows):
            self._seen = max(self._seen or 0, row.id)
            self._submitted += row.event == "create"
            if row.after in finished and row.before != row.after:
                self._completed[row.after] += 1

    def _job_counters(self, registry: CollectorRegistry) -> None:
        submitted = PrometheusCounter("batchai_jobs_submitted", "Job Submitted", registry=registry)
        submitted.inc(self._submitted)
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
    counts: dict[tuple[int, NodeState], int] = defaultdict(int)
    cores: dict[tuple[int, NodeState], int] = defaultdict(int)
    clusters = {cluster.id: cluster for cluster in unit.clusters.list()}
    for node in unit.nodes.list(provisioned=True):
        key = (node.cluster_id, node.state)
        counts[key] += 1
        size = vmsizes.CATALOGUE[clusters[node.cluster_id].spec["vmSize"]]
        cores[key] += size.cores or int(node.facts.get("cores", 0))
    for what, numbers in (("nodes", counts), ("cores", cores)):
        for word, state in _WORDS.items():
            title = f"{word.capitalize()} {what.capitalize()}"
            gauge = Gauge(f"batchai_{word}_{what}", title, ["cluster"], registry=registry)
            for cluster in clusters.values():
                found = [n for (id, s), n in numbers.items() if id == cluster.id and state in (None, s)]
                gauge.labels(cluster.name).set(sum(found))


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
