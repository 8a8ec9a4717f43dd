"""What a transaction changed of the rows that the scheduler's view is kept from."""

from collections.abc import Callable
from typing import Any

from openbatchai.domain.clusters import AllocationState, scale_of
from openbatchai.domain.model import Cluster, Effect, Job, Node, Operation, Task
from openbatchai.domain.view import (
    Change,
    ClusterChange,
    ClusterGone,
    EffectQueued,
    JobChange,
    NodeChange,
    NodeGone,
    OperationOpened,
    TaskEnded,
)


def of_cluster(row: Cluster) -> Change:
    resizing = row.allocation_state is AllocationState.RESIZING
    return ClusterChange(row.id, scale_of(row.spec), row.target, row.deleting, resizing, row.idle_s)


def of_node(row: Node) -> Change:
    return NodeChange(
        row.id, row.cluster_id, row.state, row.changed, row.run_id, row.leave_after_run, row.attempt
    )


def of_job(row: Job) -> Change:
    return JobChange(
        row.id,
        row.cluster_id,
        row.execution_state,
        row.priority,
        row.node_count,
        row.limit_s,
        row.run_id,
        row.started,
    )


def of_task(row: Task) -> Change | None:
    return TaskEnded(row.job_id) if row.ended and row.job_id else None


def of_effect(row: Effect) -> Change:
    return EffectQueued(row.kind)


def of_operation(row: Operation) -> Change | None:
    return OperationOpened() if row.ended is None else None


# By table: what a written row means, and what a removed one does. Jobs and tasks are removed only when they
# are over, and mean nothing by then.
WRITTEN: dict[str, Callable[[Any], Change | None]] = {
    "clusters": of_cluster,
    "nodes": of_node,
    "jobs": of_job,
    "tasks": of_task,
    "outbox": of_effect,
    "operations": of_operation,
}
REMOVED: dict[str, Callable[[Any], Change]] = {"clusters": ClusterGone, "nodes": NodeGone}
