"""From the store to the scheduler's view, and from its decisions back into rows and effects."""

import secrets
import uuid
from collections import defaultdict
from datetime import datetime

from sqlalchemy import select

from openbatchai.domain.clusters import (
    AllocationEvent,
    AllocationState,
    Deallocation,
    NodeEvent,
    NodeState,
    scale_of,
)
from openbatchai.domain.errors import Fault
from openbatchai.domain.jobs import ExecutionState, JobEvent
from openbatchai.domain.model import Cluster, Node, Task
from openbatchai.domain.placement import (
    AddNodes,
    ClusterView,
    Decision,
    NodeView,
    QueuedJob,
    ReleaseNode,
    SetTarget,
    Settle,
    StartJob,
    VacateNode,
    next_deadline,
    plan,
    queue_length_that_matters,
)
from openbatchai.domain.ports import TaskKind
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from . import clusters
from .context import Context, record
from .deletion import terminate_job
from .transitions import PROVISION_NODE, move_cluster, move_job, move_node, queue_effect


def schedule(context: Context, unit: Unit) -> datetime | None:
    """Plan and apply. Returns when time alone will change the plan."""
    views, now = _views(unit), context.clock.now()
    for view in views:
        with unit.isolated(f"cluster {view.id}"):
            for decision in plan([view], now, context.idle_timeout):
                _apply(context, unit, decision)
    return next_deadline(views, now, context.idle_timeout)


def _views(unit: Unit) -> list[ClusterView]:
    nodes: dict[int, list[NodeView]] = defaultdict(list)
    job_of_run = _running_jobs(unit)
    for node in unit.nodes.list(order=unit.nodes.table.c.id):
        job_id = job_of_run.get(node.run_id)
        nodes[node.cluster_id].append(
            NodeView(node.id, node.state, node.changed, job_id, node.leave_after_run)
        )
    return [
        ClusterView(
            cluster.id,
            scale := scale_of(cluster.spec),
            cluster.target,
            cluster.deleting,
            tuple(nodes[cluster.id]),
            _queue(unit, cluster.id, scale.maximum, queue_length_that_matters(scale, nodes[cluster.id])),
        )
        for cluster in unit.clusters.list(order=unit.clusters.table.c.id)
    ]


def _running_jobs(unit: Unit) -> dict[str, int]:
    c = tables.jobs.c
    live = (ExecutionState.RUNNING, ExecutionState.TERMINATING)
    rows = unit.connection.execute(select(c.run_id, c.id).where(c.execution_state.in_(live)))
    return {row.run_id: row.id for row in rows}


def _queue(unit: Unit, cluster_id: int, widest: int, length: int) -> tuple[QueuedJob, ...]:
    """The head of the queue. However long it is, what cannot matter is not read."""
    if length == 0:
        return ()
    c = tables.jobs.c
    head = (
        select(c.id, c.priority, c.node_count)
        .where(c.cluster_id == cluster_id, c.execution_state == ExecutionState.QUEUED, c.node_count <= widest)
        .order_by(c.priority.desc(), c.id)
        .limit(length)
    )
    return tuple(QueuedJob(row.id, row.priority, row.node_count) for row in unit.connection.execute(head))


def _apply(context: Context, unit: Unit, decision: Decision) -> None:
    match decision:
        case SetTarget(cluster_id, target):
            clusters.set_target(unit, _cluster(unit, cluster_id), target, context)
        case AddNodes(cluster_id, count):
            _add_nodes(context, unit, _cluster(unit, cluster_id), count)
        case ReleaseNode(node_id):
            _release(context, unit, node_id)
        case VacateNode(node_id, job_id, how):
            _vacate(context, unit, node_id, job_id, how)
        case StartJob(job_id, node_ids):
            _start_job(context, unit, job_id, node_ids)
        case Settle(cluster_id):
            cluster = _cluster(unit, cluster_id)
            if cluster.allocation_state is AllocationState.RESIZING:
                move_cluster(unit, cluster, AllocationEvent.SETTLED, context.clock.now())
                unit.clusters.save(cluster)


def _cluster(unit: Unit, cluster_id: int) -> Cluster:
    found = unit.clusters.get(id=cluster_id)
    if found is None:
        raise LookupError(f"cluster {cluster_id} vanished inside a transaction")
    return found


def _node(unit: Unit, node_id: str) -> Node:
    found = unit.nodes.get(id=node_id)
    if found is None:
        raise LookupError(f"node {node_id} vanished inside a transaction")
    return found


def _resizing(context: Context, unit: Unit, cluster: Cluster, reason: str) -> None:
    move_cluster(unit, cluster, AllocationEvent.RESIZE, context.clock.now(), reason)
    unit.clusters.save(cluster)


def _add_nodes(context: Context, unit: Unit, cluster: Cluster, count: int) -> None:
    now = context.clock.now()
    _resizing(context, unit, cluster, f"adding {count} nodes")
    low_priority = "-p" if cluster.spec["vmPriority"] == "lowpriority" else ""
    serial = secrets.randbelow(2**32)
    for position in range(1, count + 1):
        # The shape of the recorded names (batchai-service.md section 15).
        node_id = f"tvm-{serial}_{position}-{now:%Y%m%dt%H%M%S}z{low_priority}"
        task = Task(
            id=str(uuid.uuid4()),
            kind=TaskKind.NODE_PREPARATION,
            node_id=node_id,
            cluster_id=cluster.id,
            job_id=0,
            run_id="",
            phase=0,
            position=0,
            started=False,
            ended=False,
            sequence=0,
        )
        unit.tasks.add(task)
        unit.nodes.add(Node(node_id, cluster.id, NodeState.PREPARING, now, task.id, False, {}))
        record(unit, now, "node", node_id, "", NodeState.PREPARING, "allocate", f"cluster {cluster.name}")
        queue_effect(unit, PROVISION_NODE, node_id)


def _release(context: Context, unit: Unit, node_id: str) -> None:
    node = _node(unit, node_id)
    _resizing(context, unit, _cluster(unit, node.cluster_id), f"releasing {node_id}")
    move_node(unit, node, NodeEvent.RELEASE, context.clock.now(), "not needed any more")


def _vacate(context: Context, unit: Unit, node_id: str, job_id: int, how: Deallocation) -> None:
    node, job = _node(unit, node_id), unit.jobs.get(id=job_id)
    node.leave_after_run = True
    unit.nodes.save(node)
    _resizing(context, unit, _cluster(unit, node.cluster_id), f"vacating {node_id} ({how})")
    if job is None or job.execution_state is not ExecutionState.RUNNING or job.requeue or job.stop_reason:
        return
    if unit.tasks.count(run_id=job.run_id, ended=False) == 0:
        # Over, and only not yet published: nothing is left to stop, and nothing must run again.
        return
    if how is Deallocation.TERMINATE:
        terminate_job(context, unit, job, "service", Fault.NODE_DEALLOCATED)
    elif how is Deallocation.REQUEUE:
        job.requeue = True
        move_job(unit, job, JobEvent.REQUEUE, context.clock.now(), f"node {node_id} is being deallocated")


def _start_job(context: Context, unit: Unit, job_id: int, node_ids: tuple[str, ...]) -> None:
    now = context.clock.now()
    job = unit.jobs.get(id=job_id)
    if job is None:
        raise LookupError(f"job {job_id} vanished inside a transaction")
    job.run_id = str(uuid.uuid4())
    job.attempt += 1
    job.started, job.ended, job.exit_code, job.errors = now, None, None, []
    for node_id in node_ids:
        node = _node(unit, node_id)
        node.run_id = job.run_id
        move_node(unit, node, NodeEvent.RUN_ASSIGNED, now, f"job {job.name}")
    move_job(unit, job, JobEvent.NODES_ALLOTTED, now, f"on {', '.join(node_ids)}")
