"""Carries effects out on the engine, and takes what the engine reports into the store.

Effects run outside any transaction, one by one in the order in which they were written; each is idempotent
and its row is removed when it is done, so a crash in between repeats it at worst.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from openbatchai.domain import ids, vmsizes
from openbatchai.domain.clusters import NodeEvent, NodeState
from openbatchai.domain.errors import Fault
from openbatchai.domain.jobs import ExecutionState, JobEvent
from openbatchai.domain.model import Effect, Job, Json, Node, Task
from openbatchai.domain.ports import NodeRequest, Signal, TaskEvent, TaskEventKind, TaskKind
from openbatchai.domain.ports import Task as TaskSpec
from openbatchai.domain.tasks import node_preparation, run_phases, run_task
from openbatchai.store.unit import Unit

from . import vaults
from .context import Context, record
from .deletion import DELETE_ACCOUNT
from .facts import facts_of, to_row
from .outputs import log_files
from .transitions import (
    FORGET_TASK,
    MAKE_FILE_SERVER,
    PROVISION_NODE,
    RELEASE_NODE,
    REMOVE_FILE_SERVER,
    SIGNAL_TASK,
    START_TASK,
    move_job,
    move_node,
    queue_effect,
    start_phase,
    stop_run,
)

log = logging.getLogger(__name__)

_REASON_LENGTH = 500

_RUNNING = (ExecutionState.RUNNING, ExecutionState.TERMINATING)


# --- effects ---------------------------------------------------------------------------------------


# What may take long: stopping what runs on a node, removing trees of files. It has a lane of its own, so that
# no job waits for it.
_SLOW = frozenset({RELEASE_NODE, FORGET_TASK, DELETE_ACCOUNT, REMOVE_FILE_SERVER})


def carry_out(context: Context, *, slow: bool) -> None:
    """The effects of one lane, in the order of their decision. A failed one stays for the next sweep."""
    with context.store.read() as unit:
        effects = _lane(unit, slow)
    failed: set[str] = set()
    done: list[Effect] = []
    for effect in effects:
        # What concerns one object stays in order: nothing is signalled before it was started.
        if effect.object_id in failed:
            continue
        try:
            _carry_out(context, effect)
            done.append(effect)
        except Exception:
            log.exception("effect %s of %s failed", effect.kind, effect.object_id)
            failed.add(effect.object_id)
    if done:
        # Together: after a crash before this commit they are all repeated, and none minds.
        context.store.write(lambda unit: _remove_effects(unit, done))


def _lane(unit: Unit, slow: bool) -> list[Effect]:
    """Those effects of the lane that need not wait for one of the other lane, decided before: a release for
    what is still to be started on its node, a new node for those that leave, whose GPUs it may get."""
    lane: list[Effect] = []
    before: set[str] = set()
    leaving = False
    for effect in unit.outbox.list(order=unit.outbox.table.c.id):
        if (effect.kind in _SLOW) is not slow:
            before.add(effect.object_id)
            leaving = leaving or effect.kind == RELEASE_NODE
        elif slow and before and before & _concerned(unit, effect):
            continue
        elif not (leaving and effect.kind == PROVISION_NODE):
            lane.append(effect)
    return lane


def _concerned(unit: Unit, effect: Effect) -> set[str]:
    tasks = unit.tasks.list(node_id=effect.object_id) if effect.kind == RELEASE_NODE else []
    return {effect.object_id, *(task.id for task in tasks)}


def _carry_out(context: Context, effect: Effect) -> None:
    object_id = effect.object_id
    match effect.kind:
        case kind if kind == PROVISION_NODE:
            _provision(context, object_id)
        case kind if kind == RELEASE_NODE:
            _release(context, object_id)
        case kind if kind == START_TASK:
            _start(context, object_id)
        case kind if kind == SIGNAL_TASK:
            _signal(context, object_id)
        case kind if kind == FORGET_TASK:
            context.engine.forget(object_id)
        case kind if kind == DELETE_ACCOUNT:
            _delete_account(context, object_id)
        case kind if kind == MAKE_FILE_SERVER:
            _make_file_server(context, int(object_id))
        case kind if kind == REMOVE_FILE_SERVER:
            _remove_file_server(context, int(object_id))


def _remove_effects(unit: Unit, effects: Sequence[Effect]) -> None:
    unit.outbox.remove(id=[effect.id for effect in effects])
    # The other lane may wait for these, and the deletion of a group for that of its accounts' content.
    slow = any(effect.kind in _SLOW for effect in effects)
    unit.changed = unit.changed or slow or unit.outbox.count() > 0


def _delete_account(context: Context, account: str) -> None:
    with context.store.read() as unit:
        # The next start makes the default account again; never take the content of one that exists.
        exists = unit.accounts.get(key=account) is not None
    if not exists:
        context.forget_keys(account)
        context.storage.delete_account(account)


def _engine_key(context: Context, server_id: int) -> str | None:
    with context.store.read() as unit:
        server = unit.file_servers.get(id=server_id)
        parent = None if server is None else unit.workspaces.get(id=server.workspace_id)
    if server is None or parent is None:
        return None
    ref = ids.ChildRef(context.subscription, parent.group_name, parent.name, server.name)
    return ids.file_server_key(ref)


def _make_file_server(context: Context, server_id: int) -> None:
    key = _engine_key(context, server_id)
    if key is None:
        return
    facts = context.engine.make_file_server(key)

    def work(unit: Unit) -> None:
        server = unit.file_servers.get(id=server_id)
        if server is not None and not server.facts:
            server.facts = {"address": facts.address, "mountPoint": facts.mount_point}
            server.changed = context.clock.now()
            unit.file_servers.save(server)
            record(unit, server.changed, "fileServer", str(server_id), "creating", "succeeded", "made")

    context.store.write(work)


def _remove_file_server(context: Context, server_id: int) -> None:
    key = _engine_key(context, server_id)
    if key is None:
        return
    context.engine.remove_file_server(key)

    def work(unit: Unit) -> None:
        unit.file_servers.remove(id=server_id)
        unit.changed = True

    context.store.write(work)


def _provision(context: Context, node_id: str) -> None:
    with context.store.read() as unit:
        node = unit.nodes.get(id=node_id)
        cluster = None if node is None else unit.clusters.get(id=node.cluster_id)
    if node is None or cluster is None or node.state is not NodeState.PREPARING:
        return
    size = vmsizes.CATALOGUE[cluster.spec["vmSize"]]
    request = NodeRequest(node_id, size.cores, size.gpus, whole_machine=size is vmsizes.LOCAL)
    [facts] = context.engine.provision([request])

    def work(unit: Unit) -> None:
        current = unit.nodes.get(id=node_id)
        if current is not None and not current.provisioned:
            current.facts, current.provisioned = to_row(facts), True
            unit.nodes.save(current)
            queue_effect(unit, START_TASK, current.task_id)
            state = current.state
            record(unit, context.clock.now(), "node", node_id, state, state, "provisioned", facts.note)

    context.store.write(work)


def _release(context: Context, node_id: str) -> None:
    context.engine.release([node_id])

    def work(unit: Unit) -> None:
        node = unit.nodes.get(id=node_id)
        if node is None:
            return
        unit.nodes.remove(id=node_id)
        _forget_errors(unit, node)
        unit.tasks.remove(id=node.task_id)
        queue_effect(unit, FORGET_TASK, node.task_id)
        record(unit, context.clock.now(), "node", node_id, node.state, "", "released")

    context.store.write(work)


def _forget_errors(unit: Unit, node: Node) -> None:
    """What was wrong with a node goes with it: a cluster resized to 0 and back starts clean."""
    cluster = unit.clusters.get(id=node.cluster_id)
    if cluster is not None and (kept := [e for e in cluster.errors if not _is_of(e, node)]) != cluster.errors:
        cluster.errors = kept
        unit.clusters.save(cluster)


def _is_of(error: Json, node: Node) -> bool:
    return {"name": "nodeId", "value": node.id} in error.get("details", [])


def _start(context: Context, task_id: str) -> None:
    with context.store.read() as unit:
        spec = _task_spec(unit, task_id)
    if spec is None:
        return
    context.engine.start(spec)
    _set_started(context, task_id)


def _set_started(context: Context, task_id: str) -> None:
    def work(unit: Unit) -> None:
        task = unit.tasks.get(id=task_id)
        if task is not None:
            task.started = True
            unit.tasks.save(task)
            unit.changed = True

    context.store.write(work)


def _task_spec(unit: Unit, task_id: str) -> TaskSpec | None:
    """The task to start; None when it was called off meanwhile."""
    task = unit.tasks.get(id=task_id)
    if task is None or task.ended:
        return None
    if task.kind == TaskKind.NODE_PREPARATION:
        node, cluster = unit.nodes.get(id=task.node_id), unit.clusters.get(id=task.cluster_id)
        if node is None or node.state is not NodeState.PREPARING or cluster is None:
            return None
        cluster.secrets = vaults.resolved(unit, cluster.spec, cluster.secrets)
        return node_preparation(task.id, task.node_id, cluster)
    job = unit.jobs.get(id=task.job_id)
    if job is None or job.run_id != task.run_id or job.requeue or job.stop_reason:
        return None
    job.secrets = vaults.resolved(unit, job.spec, job.secrets)
    nodes = [facts_of(n) for n in unit.nodes.list(run_id=task.run_id, order=unit.nodes.table.c.id)]
    return run_task(task.id, job, task.phase, task.position, nodes, _job_path(unit, job))


def _job_path(unit: Unit, job: Job) -> str:
    experiment = unit.experiments.get(id=job.experiment_id)
    parent = None if experiment is None else unit.workspaces.get(id=experiment.workspace_id)
    if experiment is None or parent is None:
        raise LookupError(f"job {job.id} has lost its experiment")
    return f"{parent.group_name}/{parent.name}/{experiment.name}/{job.name}"


def _signal(context: Context, task_id: str) -> None:
    with context.store.read() as unit:
        task = unit.tasks.get(id=task_id)
    if task is None or task.ended:
        return
    context.engine.signal(task_id, Signal.TERMINATE)
    if not task.started:
        # Called off before its start was written down. Only the engine can say whether it started, so its
        # end is taken from there, as that of any other task.
        _set_started(context, task_id)


# --- reports ---------------------------------------------------------------------------------------


def observe(context: Context) -> None:
    """Take new events of the engine into the store, each exactly once."""
    with context.store.read() as unit:
        running = {task.id: task.sequence for task in unit.tasks.list(started=True, ended=False)}
    events = context.engine.observe(running) if running else []
    if events:
        context.store.write(lambda unit: _take_events(context, unit, events))


def _take_events(context: Context, unit: Unit, events: Sequence[TaskEvent]) -> None:
    for event in events:
        _take_event(context, unit, event)


def _take_event(context: Context, unit: Unit, event: TaskEvent) -> None:
    task = unit.tasks.get(id=event.task_id)
    if task is None or task.ended or event.sequence <= task.sequence:
        return
    task.sequence = event.sequence
    what = f"{event.kind} {event.step or ''}".strip()
    record(
        unit,
        event.at,
        "task",
        task.id,
        "",
        "",
        what,
        f"exit code {event.exit_code}" if event.exit_code else "",
    )
    if event.kind is TaskEventKind.ENDED:
        task.ended, task.ended_at, task.exit_code = True, event.at, event.exit_code
        task.fault = asdict(event.fault) if event.fault else None
    unit.tasks.save(task)
    if task.ended and task.kind == TaskKind.NODE_PREPARATION:
        _end_preparation(context, unit, task)


def _end_preparation(context: Context, unit: Unit, task: Task) -> None:
    node = unit.nodes.get(id=task.node_id)
    cluster = unit.clusters.get(id=task.cluster_id)
    if node is None or cluster is None:
        return
    if task.fault is None:
        move_node(unit, node, NodeEvent.PREPARED, context.clock.now())
        return
    move_node(unit, node, NodeEvent.PREPARATION_FAILED, context.clock.now(), _words(task.fault))
    error = _error(task.fault)
    error["details"] = [*error.get("details", []), {"name": "nodeId", "value": node.id}]
    cluster.errors = [*cluster.errors, error]
    unit.clusters.save(cluster)


def _words(fault: Json) -> str:
    """For a line of the object's story, which has room for so much."""
    details = (f"{name}: {value}" for name, value in fault["details"])
    return "; ".join((fault["message"], *details))[:_REASON_LENGTH]


def _error(fault: Json) -> Json:
    error: Json = {"code": str(fault["code"]), "message": fault["message"]}
    if fault["details"]:
        error["details"] = [{"name": name, "value": value} for name, value in fault["details"]]
    return error


# --- ends of runs ----------------------------------------------------------------------------------


def finish_runs(context: Context, unit: Unit) -> datetime | None:
    """Go on to the next phase, or end, every run whose tasks are over.

    Returns until when the publication of a finished run is held for a reader of its logs.
    """
    deadlines = []
    for job in unit.jobs.list(execution_state=_RUNNING):
        with unit.isolated(f"job {job.name}"):
            held = _go_on(context, unit, job)
            deadlines += [held] if held else []
    return min(deadlines, default=None)


def _go_on(context: Context, unit: Unit, job: Job) -> datetime | None:
    tasks = unit.tasks.list(run_id=job.run_id, order=unit.tasks.table.c.position)
    if all(task.ended for task in tasks):
        return _finish_phase(context, unit, job, tasks)
    if any(_failed(task) for task in tasks):
        _stop_once(unit, job, tasks)
    return None


def _failed(task: Task) -> bool:
    return task.ended and task.fault is not None


def _stop_once(unit: Unit, job: Job, tasks: Sequence[Task]) -> None:
    waiting = {effect.object_id for effect in unit.outbox.list(kind=SIGNAL_TASK)}
    # A run that is being withdrawn has been told to end already.
    if not job.stop_reason and not job.requeue and not any(task.id in waiting for task in tasks):
        job.stop_reason = _PEER_FAILED
        unit.jobs.save(job)
        stop_run(unit, job)


# Kept in `stop_reason` only until the run is over; never shown.
_PEER_FAILED = "peerFailed"


def _finish_phase(context: Context, unit: Unit, job: Job, tasks: Sequence[Task]) -> datetime | None:
    phase = max(task.phase for task in tasks)
    going_on = not job.stop_reason and not job.requeue and not any(_failed(task) for task in tasks)
    if going_on and phase + 1 < len(run_phases(job.spec, job.node_count)):
        start_phase(unit, job, phase + 1)
        return None
    ended = max(task.ended_at for task in tasks if task.ended_at)
    held = _held_until(context, job, ended)
    if held is None:
        _publish(context, unit, job, tasks, ended)
    return held


def _held_until(context: Context, job: Job, ended: datetime) -> datetime | None:
    """A client that tails the log stops at the finished state without one more read (clients.md section 7):
    if it fetched lately and has not seen the end yet, it gets a moment to do so."""
    now, until = context.clock.now(), ended + timedelta(seconds=context.tail_wait_s)
    if now >= until or job.requeue:
        return None
    # The window reaches back from the end of the run, however long we have been waiting since, but not
    # beyond its start: nobody can have read before.
    window = min(context.tail_window_s + (now - ended).total_seconds(), _age(job, now))
    try:
        logs = log_files(job, _log_names(context, job))
        unread = any(context.storage.unread_since(ref, window) for ref in logs)
    except OSError:
        # The directory is the job's own, permissions included. What we cannot read, nobody reads through us.
        log.warning("the output of job %s cannot be read", job.name, exc_info=True)
        return None
    return until if unread else None


def _age(job: Job, now: datetime) -> float:
    return (now - job.started).total_seconds() if job.started else 0.0


def _log_names(context: Context, job: Job) -> list[str]:
    places = log_files(job, ["."])
    entries = context.storage.list_directory(places[0]) if places else None
    return [e.name for e in entries or () if not e.is_directory and e.name.startswith(("stdout", "stderr"))]


def _is_complete(job: Job, tasks: Sequence[Task]) -> bool:
    """Whether the run came to its own good end, perhaps just before it was told to stop."""
    last = max(task.phase for task in tasks) + 1 == len(run_phases(job.spec, job.node_count))
    return last and not any(_failed(task) for task in tasks)


def _publish(context: Context, unit: Unit, job: Job, tasks: Sequence[Task], ended: datetime) -> None:
    now = context.clock.now()
    if job.requeue and not _is_complete(job, tasks):
        job.requeue, job.started = False, None
        move_job(unit, job, JobEvent.RUN_WITHDRAWN, now, "its nodes were deallocated")
        return
    job.ended, job.requeue = ended, False
    if job.stop_reason and job.stop_reason != _PEER_FAILED:
        move_job(unit, job, JobEvent.RUN_FAILED, now, job.stop_reason)
        return
    job.stop_reason = ""
    failures = sorted(
        (t for t in tasks if t.fault is not None and t.ended_at is not None),
        # The one that failed by itself decides, not those stopped because of it.
        key=lambda t: ((t.fault or {})["code"] == Fault.JOB_TERMINATED, t.ended_at),
    )
    if not failures:
        job.exit_code = 0
        move_job(unit, job, JobEvent.RUN_SUCCEEDED, now)
        return
    deciding = failures[0]
    job.exit_code = deciding.exit_code
    job.errors = [_error(deciding.fault or {})]
    move_job(unit, job, JobEvent.RUN_FAILED, now, job.errors[0]["message"])
