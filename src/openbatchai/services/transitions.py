"""Applies the state machines: the new state, its event row, and its effects on other rows and the outbox."""

import uuid
from collections.abc import Callable
from datetime import datetime

from openbatchai.domain import clusters, jobs, runs
from openbatchai.domain.clusters import AllocationEvent, NodeEffect, NodeEvent
from openbatchai.domain.jobs import FINISHED, JobEffect, JobEvent
from openbatchai.domain.model import Cluster, Effect, Job, Node, Run, Task
from openbatchai.domain.ports import TaskKind
from openbatchai.domain.runs import RunEffect, RunEvent, RunState
from openbatchai.domain.tasks import nodes_of_phase
from openbatchai.store.unit import Unit, events_of

from .context import record
from .facts import facts_of

START_TASK = "startTask"
SIGNAL_TASK = "signalTask"
LET_GO_ON = "letGoOn"
FORGET_TASK = "forgetTask"
PROVISION_NODE = "provisionNode"
RELEASE_NODE = "releaseNode"
MAKE_FILE_SERVER = "makeFileServer"
REMOVE_FILE_SERVER = "removeFileServer"


def _story(unit: Unit, kind: str, object_id: str) -> Callable[[], str]:
    def told() -> str:
        return "; ".join(f"{e.before}->{e.after} ({e.event})" for e in events_of(unit, kind, object_id))

    return told


def queue_effect(unit: Unit, kind: str, object_id: str) -> None:
    unit.outbox.add(Effect(0, kind, object_id))
    unit.changed = True


def move_cluster(
    unit: Unit,
    cluster: Cluster,
    event: AllocationEvent,
    now: datetime,
    reason: str = "",
    actor: str = "service",
) -> None:
    before = cluster.allocation_state
    story = _story(unit, "cluster", str(cluster.id))
    after, _ = clusters.ALLOCATION.step(cluster.name, before, event, story)
    if after is not before:
        cluster.allocation_state, cluster.allocation_changed = after, now
    record(unit, now, "cluster", str(cluster.id), before, after, event, reason, actor)


def move_node(
    unit: Unit, node: Node, event: NodeEvent, now: datetime, reason: str = "", actor: str = "service"
) -> None:
    """Change the node's state and save it."""
    before = node.state
    after, effects = clusters.NODE.step(node.id, before, event, _story(unit, "node", node.id))
    node.state, node.changed = after, now if after is not before else node.changed
    if event is NodeEvent.RUN_ENDED:
        node.run_id = ""
    if NodeEffect.RELEASE in effects:
        queue_effect(unit, RELEASE_NODE, node.id)
    unit.nodes.save(node)
    record(unit, now, "node", node.id, before, after, event, reason, actor)
    if event is NodeEvent.RUN_ENDED and node.leave_after_run:
        move_node(unit, node, NodeEvent.RELEASE, now, "to leave when its run ended")


def move_job(
    unit: Unit, job: Job, event: JobEvent, now: datetime, reason: str = "", actor: str = "service"
) -> None:
    """Change the job's state, carry out the effects and save it. Its other fields are the caller's to set."""
    before = job.execution_state
    after, effects = jobs.JOB.step(job.name, before, event, _story(unit, "job", str(job.id)))
    job.execution_state = after
    if after is not before:
        job.execution_changed = now
    if JobEffect.START_RUN in effects:
        _start_run(unit, job, now, actor)
    if JobEffect.STOP_RUN in effects:
        move_run(unit, job, run_of(unit, job), RunEvent.STOP, now, reason, actor)
    if JobEffect.FREE_NODES in effects:
        for node in unit.nodes.list(run_id=job.run_id):
            move_node(unit, node, NodeEvent.RUN_ENDED, now, f"job {job.name}")
        job.run_id = ""
    if JobEffect.WIPE_SECRETS in effects:
        job.secrets = {}
    if after in FINISHED:
        job.ended = job.ended or now
        job.started = job.started or job.ended
    unit.jobs.save(job)
    record(unit, now, "job", str(job.id), before, after, event, reason, actor)


def run_of(unit: Unit, job: Job) -> Run:
    """The present run. Raises LookupError when the job has none."""
    found = unit.runs.get(id=job.run_id)
    if found is None:
        raise LookupError(f"job {job.id} has lost its run {job.run_id}")
    return found


def move_run(
    unit: Unit,
    job: Job,
    run: Run,
    event: RunEvent,
    now: datetime,
    reason: str = "",
    actor: str = "service",
    *,
    phase: int = 0,
) -> None:
    """Change the run's state, carry out the effects and save it. `phase` is the one to start next."""
    before = run.state
    after, effects = runs.RUN.step(run.id, before, event, _story(unit, "run", run.id))
    run.state = after
    if after in runs.OVER:
        run.ended = now
    if RunEffect.START_PHASE in effects:
        _start_phase(unit, job, phase)
    if RunEffect.SIGNAL_TASKS in effects:
        for task in unit.tasks.list(run_id=run.id, ended=False):
            queue_effect(unit, SIGNAL_TASK, task.id)
    if after is not before:
        unit.runs.save(run)
    record(unit, now, "run", run.id, before, after, event, reason, actor)


def _start_run(unit: Unit, job: Job, now: datetime, actor: str) -> None:
    """The nodes have the run's id already."""
    nodes = [node.id for node in unit.nodes.list(run_id=job.run_id, order=unit.nodes.table.c.id)]
    unit.runs.add(Run(job.run_id, job.id, job.attempt, RunState.ACTIVE, nodes, now))
    reason = f"attempt {job.attempt} of job {job.name} on {', '.join(nodes)}"
    record(unit, now, "run", job.run_id, "", RunState.ACTIVE, "start", reason, actor)
    _start_phase(unit, job, 0)


def _start_phase(unit: Unit, job: Job, phase: int) -> None:
    """Task rows and start effects for the nodes that have something to do in this phase of the run."""
    nodes = unit.nodes.list(run_id=job.run_id, order=unit.nodes.table.c.id)
    facts = [facts_of(node) for node in nodes]
    for position in nodes_of_phase(job.spec, phase, facts):
        node = nodes[position]
        task = Task(
            id=str(uuid.uuid4()),
            kind=TaskKind.RUN,
            node_id=node.id,
            cluster_id=node.cluster_id,
            job_id=job.id,
            run_id=job.run_id,
            phase=phase,
            position=position,
            started=False,
            ended=False,
            sequence=0,
        )
        unit.tasks.add(task)
        queue_effect(unit, START_TASK, task.id)
