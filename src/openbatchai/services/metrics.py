"""Counts of what is there, in the words of the real service's metrics."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select

from openbatchai.domain.clusters import NodeState
from openbatchai.domain.jobs import ExecutionState
from openbatchai.store import tables

from .context import Context


def exposition(context: Context) -> bytes:
    """The metrics in Prometheus' text format, read from the store when asked."""
    registry = CollectorRegistry()
    jobs = Gauge("batchai_jobs", "Jobs by execution state", ["state"], registry=registry)
    nodes = Gauge("batchai_nodes", "Nodes by state", ["state"], registry=registry)
    clusters = Gauge("batchai_clusters", "Clusters", registry=registry)
    with context.store.read() as unit:
        job_column, node_column = tables.jobs.c.execution_state, tables.nodes.c.state
        job_counts = unit.connection.execute(select(job_column, func.count()).group_by(job_column))
        by_job_state = {row[0]: row[1] for row in job_counts}
        node_counts = unit.connection.execute(select(node_column, func.count()).group_by(node_column))
        by_node_state = {row[0]: row[1] for row in node_counts}
        clusters.set(unit.clusters.count())
    for job_state in ExecutionState:
        jobs.labels(job_state).set(by_job_state.get(job_state, 0))
    for node_state in NodeState:
        nodes.labels(node_state).set(by_node_state.get(node_state, 0))
    return generate_latest(registry)
