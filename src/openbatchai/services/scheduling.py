"""From the scheduler's view to decisions, and from those into rows and effects."""

import secrets
import uuid
from datetime import datetime, timedelta

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
    REPLACEMENT_PAUSES,
    AddNodes,
    Decision,
    ReleaseNode,
    ReplaceNode,
    SetTarget,
    Settle,
    StartJob,
    VacateNode,
    next_deadline,
    plan,
)
from openbatchai.domain.ports import TaskKind
from openbatchai.domain.runs import RunState
from openbatchai.store.unit import Unit

from . import clusters
from .context import Context, record
from .deletion import terminate_job
from .keeping import Kept
from .stories import place_of
from .transitions import PROVISION_NODE, move_cluster, move_job, move_node, queue_effect

# While the engine lets no run start.
_LOOK_AGAIN = timedelta(seconds=5)

# How many jobs one transaction starts at most.
_STARTS = 64


def schedule(context: Context, unit: Unit, kept: Kept) -> datetime | None:
    """Plan and apply for the clusters that changed or whose time has come. Returns when time alone will
    change a plan, or a time that has come when there is more to do than fits into one transaction."""
    now = context.clock.now()
    view = kept.current(unit)
    due = view.changed | {id for id, deadline in kept.deadlines.items() if deadline <= now}
    view.changed.clear()
    unfinished = False
    for cluster_id in sorted(due):
        kept.deadlines.pop(cluster_id, None)
        cluster = view.clusters.get(cluster_id)
        if cluster is None:
            continue
        failed, held = True, False
        with unit.isolated(f"cluster {cluster_id}"):
            decisions = plan(cluster, now, context.idle_time(cluster.idle_s))
            held = _held(context, unit, kept, decisions)
            if held:
                decisions = [decision for decision in decisions if not isinstance(decision, StartJob)]
            for decision in _first(decisions):
                _apply(context, unit, decision, now)
            unfinished = unfinished or len(decisions) > len(_first(decisions))
            failed = False
        kept.current(unit)
        if failed:
            # Next time again: nothing else would bring it up.
            view.changed.add(cluster_id)
        elif deadline := next_deadline(cluster, now, context.idle_time(cluster.idle_s)):
            kept.deadlines[cluster_id] = deadline
        if not failed and held:
            soon = now + _LOOK_AGAIN
            kept.deadlines[cluster_id] = min(kept.deadlines.get(cluster_id, soon), soon)
    return now if unfinished else min(kept.deadlines.values(), default=None)


def _held(context: Context, unit: Unit, kept: Kept, decisions: list[Decision]) -> bool:
    """Whether runs would start and the engine lets none; the first such job and the first after it tell."""
    starts = [decision for decision in decisions if isinstance(decision, StartJob)]
    if starts and bool(kept.hold) != kept.told_hold:
        kept.told_hold = bool(kept.hold)
        event, reason = ("startsHeld", kept.hold) if kept.hold else ("startsGoOn", "")
        queued = ExecutionState.QUEUED
        record(unit, context.clock.now(), "job", str(starts[0].job_id), queued, queued, event, reason)
    return bool(starts and kept.hold)


def _first(decisions: list[Decision]) -> list[Decision]:
    """What one transaction holds: others, requests above all, wait for it."""
    starts = [decision for decision in decisions if isinstance(decision, StartJob)]
    if len(starts) <= _STARTS:
        return decisions
    later = set(starts[_STARTS:])
    return [decision for decision in decisions if decision not in later]


def _apply(context: Context, unit: Unit, decision: Decision, now: datetime) -> None:
    match decision:
        case SetTarget(cluster_id, target):
            clusters.set_target(unit, _cluster(unit, cluster_id), target, context)
        case AddNodes(cluster_id, count):
            _add_nodes(context, unit, _cluster(unit, cluster_id), count)
        case ReleaseNode(node_id):
            _release(context, unit, node_id)
        case ReplaceNode(node_id):
            _replace(context, unit, node_id)
        case VacateNode(node_id, run_id, how):
            _vacate(context, unit, node_id, run_id, how)
        case StartJob():
            _start_job(unit, decision, now)
        case Settle(cluster_id):
            cluster = _cluster(unit, cluster_id)
            # A node that waits for room (GPUs) is not there yet.
            waiting = unit.nodes.count(cluster_id=cluster_id, provisioned=False)
            if cluster.allocation_state is AllocationState.RESIZING and not waiting:
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


def _add_nodes(
    context: Context, unit: Unit, cluster: Cluster, count: int, replaced: Node | None = None
) -> None:
    now = context.clock.now()
    instead = f" in place of {replaced.id}" if replaced else ""
    _resizing(context, unit, cluster, f"adding {count} node{'' if count == 1 else 's'}{instead}")
    attempt = replaced.attempt + 1 if replaced else 0
    low_priority = "-p" if cluster.spec["vmPriority"] == "lowpriority" else ""
    place = place_of(unit, cluster)
    for position in range(1, count + 1):
        # The shape of the recorded names (batchai-service.md section 15), with a number for each node: by the
        # name of its own node, which it knows, a job is not to find where others are being prepared.
        node_id = f"tvm-{secrets.randbelow(2**32)}_{position}-{now:%Y%m%dt%H%M%S}z{low_priority}"
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
        unit.nodes.add(
            Node(node_id, cluster.id, NodeState.PREPARING, now, task.id, False, {}, attempt=attempt)
        )
        reason = f"{place}{instead}"
        record(unit, now, "node", node_id, "", NodeState.PREPARING, "allocate", reason)
        queue_effect(unit, PROVISION_NODE, node_id)


def _release(context: Context, unit: Unit, node_id: str) -> None:
    node = _node(unit, node_id)
    _resizing(context, unit, _cluster(unit, node.cluster_id), f"releasing {node_id}")
    move_node(unit, node, NodeEvent.RELEASE, context.clock.now(), "not needed any more")


def _replace(context: Context, unit: Unit, node_id: str) -> None:
    node = _node(unit, node_id)
    cluster = _cluster(unit, node.cluster_id)
    most = "" if scale_of(cluster.spec).automatic else f" of {len(REPLACEMENT_PAUSES)}"
    reason = f"it is unusable and will be replaced (for the {node.attempt + 1}. time{most})"
    move_node(unit, node, NodeEvent.RELEASE, context.clock.now(), reason)
    _add_nodes(context, unit, cluster, 1, node)


def _vacate(context: Context, unit: Unit, node_id: str, run_id: str, how: Deallocation) -> None:
    node, run = _node(unit, node_id), unit.runs.get(id=run_id)
    job = None if run is None else unit.jobs.get(id=run.job_id)
    node.leave_after_run = True
    unit.nodes.save(node)
    _resizing(context, unit, _cluster(unit, node.cluster_id), f"vacating {node_id} ({how})")
    if job is None or run is None or run.state is not RunState.ACTIVE:
        return
    if unit.tasks.count(run_id=job.run_id, ended=False) == 0:
        # Over, and only not yet published: nothing is left to stop, and nothing must run again.
        return
    if how is Deallocation.TERMINATE:
        terminate_job(context, unit, job, "service", Fault.NODE_DEALLOCATED)
    elif how is Deallocation.REQUEUE:
        job.requeue = True
        move_job(unit, job, JobEvent.REQUEUE, context.clock.now(), f"node {node_id} is being deallocated")


def _start_job(unit: Unit, start: StartJob, now: datetime) -> None:
    job = unit.jobs.get(id=start.job_id)
    if job is None:
        raise LookupError(f"job {start.job_id} vanished inside a transaction")
    job.run_id = str(uuid.uuid4())
    job.attempt += 1
    # The time of the plan: by it and the job's limit others are promised their nodes.
    job.started, job.ended, job.exit_code, job.errors = now, None, None, []
    for node_id in start.node_ids:
        node = _node(unit, node_id)
        node.run_id = job.run_id
        move_node(unit, node, NodeEvent.RUN_ASSIGNED, now, f"job {job.name}")
    reason = f"on {', '.join(start.node_ids)}"
    if start.passed is not None and (waiting := unit.jobs.get(id=start.passed)) is not None:
        reason += f", before job {waiting.name}, which starts no later for it"
    move_job(unit, job, JobEvent.NODES_ALLOTTED, now, reason)
