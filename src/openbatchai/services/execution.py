"""Carries effects out on the engine, and takes what the engine reports into the store.

Effects run outside any transaction, one by one in the order in which they were written; each is idempotent
and its row is removed when it is done, so a crash in between repeats it at worst.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import false, select, true

from openbatchai.domain import ids, vmsizes
from openbatchai.domain.clusters import NodeEvent, NodeState
from openbatchai.domain.errors import Fault
from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.model import Cluster, Effect, Job, Json, Node, Task
from openbatchai.domain.ports import (
    NodeRequest,
    NoRoomError,
    Signal,
    StepKind,
    TaskEvent,
    TaskEventKind,
    TaskKind,
)
from openbatchai.domain.ports import Task as TaskSpec
from openbatchai.domain.runs import RunState
from openbatchai.domain.tasks import node_preparation, run_phases, run_task
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from . import gone, vaults
from .context import Context, record
from .deletion import DELETE_ACCOUNT
from .facts import facts_of, to_row
from .retries import is_told
from .transitions import (
    FORGET_TASK,
    LET_GO_ON,
    MAKE_FILE_SERVER,
    PROVISION_NODE,
    RELEASE_NODE,
    REMOVE_FILE_SERVER,
    SIGNAL_TASK,
    START_TASK,
    move_node,
    queue_effect,
)

log = logging.getLogger(__name__)

_REASON_LENGTH = 500

_RUNNING = (ExecutionState.RUNNING, ExecutionState.TERMINATING)


# --- effects ---------------------------------------------------------------------------------------


# What may take long: stopping what runs on a node, removing trees of files. It has a lane of its own, so that
# no job waits for it.
_SLOW = frozenset({RELEASE_NODE, FORGET_TASK, DELETE_ACCOUNT, REMOVE_FILE_SERVER})
_FAST = frozenset({PROVISION_NODE, START_TASK, SIGNAL_TASK, LET_GO_ON, MAKE_FILE_SERVER})

# How many effects are written down together: the first of them waits for the last.
_BATCH = 16


def carry_out(context: Context, *, slow: bool, forced: bool = True) -> None:
    """The effects of one lane, in the order of their decision. A failed one stays, and is tried again after a
    pause that grows.

    Unless `forced`, nothing is looked for when no effect of the lane was queued since the last look.
    """
    kinds = _SLOW if slow else _FAST
    queued = {kind for kind in kinds if kind in context.kept.effects}
    if not forced and not queued:
        return
    context.kept.effects.difference_update(kinds)
    with context.store.read() as unit:
        effects, others = _lane(unit, slow)
    failed: set[str] = set()
    newest = {effect.object_id: effect.id for effect in effects}
    for first in range(0, len(effects), _BATCH):
        _carry_out_batch(context, effects[first : first + _BATCH], newest, failed)
    # What failed, or had to wait for the other lane, is looked for again.
    left = {effect.kind for effect in effects if effect.object_id in failed} | {e.kind for e in others}
    context.kept.effects.update(left)


def _carry_out_batch(
    context: Context, effects: Sequence[Effect], newest: Mapping[str, int], failed: set[str]
) -> None:
    done: list[Effect] = []
    started: list[str] = []
    for effect in effects:
        now, last = context.clock.now(), newest[effect.object_id]
        # What concerns one object stays in order: nothing is signalled before it was started.
        if effect.object_id in failed:
            continue
        if not context.retries.is_due(effect.id, last, now):
            failed.add(effect.object_id)
            continue
        try:
            if effect.kind == START_TASK:
                started += [effect.object_id] if _start(context, effect.object_id) else []
            else:
                _carry_out(context, effect)
            done.append(effect)
            context.retries.done(effect.id)
        except NoRoomError as waiting:
            failed.add(effect.object_id)
            _tell_waiting(context, effect.object_id, str(waiting))
        except Exception as error:
            _tell_failure(effect, error, context.retries.failed(effect.id, last, now))
            failed.add(effect.object_id)
    if done:
        # Together: after a crash before this commit they are all repeated, and none minds.
        context.store.write(lambda unit: _write_down(unit, done, started))


def _tell_failure(effect: Effect, error: Exception, count: int) -> None:
    if count == 1:
        log.exception("effect %s of %s failed", effect.kind, effect.object_id)
    elif is_told(count):
        words = (effect.kind, effect.object_id, count, type(error).__name__, error)
        log.error("effect %s of %s failed for the %d. time: %s: %s", *words)


def _lane(unit: Unit, slow: bool) -> tuple[list[Effect], list[Effect]]:
    """Those effects of the lane that need not wait for one of the other lane, decided before: a release for
    what is still to be started on its node, a new node for those that leave, whose GPUs it may get; and those
    that do."""
    lane: list[Effect] = []
    waiting: list[Effect] = []
    before: set[str] = set()
    leaving = False
    for effect in unit.outbox.list(order=unit.outbox.table.c.id):
        if (effect.kind in _SLOW) is not slow:
            before.add(effect.object_id)
            leaving = leaving or effect.kind == RELEASE_NODE
        elif (slow and before and before & _concerned(unit, effect)) or (
            leaving and effect.kind == PROVISION_NODE
        ):
            waiting.append(effect)
        else:
            lane.append(effect)
    return lane, waiting


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
        case kind if kind == SIGNAL_TASK:
            _signal(context, object_id)
        case kind if kind == LET_GO_ON:
            context.engine.signal(object_id, Signal.GO_ON)
        case kind if kind == FORGET_TASK:
            context.engine.forget(object_id)
        case kind if kind == DELETE_ACCOUNT:
            _delete_account(context, object_id)
        case kind if kind == MAKE_FILE_SERVER:
            _make_file_server(context, int(object_id))
        case kind if kind == REMOVE_FILE_SERVER:
            _remove_file_server(context, int(object_id))


def _write_down(unit: Unit, effects: Sequence[Effect], started: Sequence[str]) -> None:
    for task_id in started:
        _set_started(unit, task_id)
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
        server = unit.file_servers.get(id=server_id)
        parent = None if server is None else unit.workspaces.get(id=server.workspace_id)
        if server is not None and parent is not None:
            names = (parent.group_name, parent.name, server.name)
            gone.remember(context, unit, "fileServer", str(server_id), names)
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
            _forget_errors(unit, current)
            queue_effect(unit, START_TASK, current.task_id)
            state = current.state
            record(unit, context.clock.now(), "node", node_id, state, state, "provisioned", facts.note)

    context.store.write(work)


def _tell_waiting(context: Context, node_id: str, reason: str) -> None:
    """In the story of the node and among its cluster's errors, once: it is asked for again at every round."""
    fault = {"code": Fault.NODE_ALLOCATION_WAITS, "message": f"The node cannot be had at present: {reason}"}
    error = _of_node(error_of({**fault, "details": []}), node_id)

    def find(unit: Unit) -> tuple[Node, Cluster] | None:
        node = unit.nodes.get(id=node_id)
        cluster = None if node is None else unit.clusters.get(id=node.cluster_id)
        told = cluster is None or error in cluster.errors
        return None if node is None or cluster is None or told else (node, cluster)

    def work(unit: Unit) -> None:
        if (found := find(unit)) is not None:
            node, cluster = found
            cluster.errors = [*(e for e in cluster.errors if not _is_of(e, node)), error]
            unit.clusters.save(cluster)
            state = node.state
            record(unit, context.clock.now(), "node", node_id, state, state, "waiting", reason)

    with context.store.read() as unit:
        anything_new = find(unit) is not None
    if anything_new:
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


def _of_node(error: Json, node_id: str) -> Json:
    return {**error, "details": [*error.get("details", []), {"name": "nodeId", "value": node_id}]}


def _is_of(error: Json, node: Node) -> bool:
    return {"name": "nodeId", "value": node.id} in error.get("details", [])


def _start(context: Context, task_id: str) -> bool:
    """False when the task was called off meanwhile."""
    with context.store.read() as unit:
        spec = _task_spec(unit, task_id, context.clock.now())
    if spec is None:
        return False
    context.engine.start(spec)
    return True


def _set_started(unit: Unit, task_id: str) -> None:
    task = unit.tasks.get(id=task_id)
    if task is not None and not task.started:
        task.started = True
        unit.tasks.save(task)
        unit.changed = True


def _task_spec(unit: Unit, task_id: str, now: datetime) -> TaskSpec | None:
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
    run = unit.runs.get(id=task.run_id)
    if job is None or job.run_id != task.run_id or run is None or run.state is not RunState.ACTIVE:
        return None
    job.secrets = vaults.resolved(unit, job.spec, job.secrets)
    nodes = [facts_of(n) for n in unit.nodes.list(run_id=task.run_id, order=unit.nodes.table.c.id)]
    path = _job_path(unit, job)
    if task.phase == 0:
        return run_task(task.id, job, task.phase, task.position, nodes, path)
    earlier = unit.tasks.get(run_id=task.run_id, node_id=task.node_id, phase=task.phase - 1)
    # Never below nothing: the clock may have been set back.
    elapsed = max(now - job.started, timedelta(0)) if job.started else timedelta(0)
    continues = earlier.id if earlier else ""
    return run_task(task.id, job, task.phase, task.position, nodes, path, continues, elapsed)


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
        context.store.write(lambda unit: _set_started(unit, task_id))


# --- reports ---------------------------------------------------------------------------------------


def observe(context: Context) -> list[TaskEvent]:
    """What the engine has to report that is not in the store yet."""
    c = tables.tasks.c
    with context.store.read() as unit:
        statement = select(c.id, c.sequence).where(c.started == true(), c.ended == false())
        running = {row.id: row.sequence for row in unit.connection.execute(statement)}
    return context.engine.observe(running) if running else []


def take_events(context: Context, unit: Unit, events: Sequence[TaskEvent]) -> None:
    """Write the events down, each exactly once."""
    for task_id, found in groupby(events, key=lambda event: event.task_id):
        with unit.isolated(f"what is reported of task {task_id}"):
            for event in found:
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
    done = event.kind is TaskEventKind.STEP_ENDED and event.step is StepKind.JOB_PREPARATION
    task.prepared = task.prepared or (done and event.exit_code == 0)
    unit.tasks.save(task)
    if done and task.prepared:
        _let_go_on(unit, task)
    if task.ended and task.kind == TaskKind.NODE_PREPARATION:
        _end_preparation(context, unit, task)


def _let_go_on(unit: Unit, task: Task) -> None:
    """The job may start when all its nodes are prepared: those whose tasks wait for it go on."""
    tasks = unit.tasks.list(run_id=task.run_id)
    job = unit.jobs.get(id=task.job_id)
    waiting = job is not None and len(tasks) > 1 and len(run_phases(job.spec, job.node_count)[0]) > 1
    if waiting and all(each.prepared for each in tasks):
        for each in tasks:
            queue_effect(unit, LET_GO_ON, each.id)


def _end_preparation(context: Context, unit: Unit, task: Task) -> None:
    node = unit.nodes.get(id=task.node_id)
    cluster = unit.clusters.get(id=task.cluster_id)
    if node is None or cluster is None:
        return
    if task.fault is None:
        move_node(unit, node, NodeEvent.PREPARED, context.clock.now())
        return
    move_node(unit, node, NodeEvent.PREPARATION_FAILED, context.clock.now(), _words(task.fault))
    error = error_of(task.fault)
    cluster.errors = [*cluster.errors, _of_node(error, node.id)]
    unit.clusters.save(cluster)


def _words(fault: Json) -> str:
    """For a line of the object's story, which has room for so much."""
    details = (f"{name}: {value}" for name, value in fault["details"])
    return "; ".join((fault["message"], *details))[:_REASON_LENGTH]


def error_of(fault: Json) -> Json:
    """A task's fault as an entry of `errors`."""
    error: Json = {"code": str(fault["code"]), "message": fault["message"]}
    if fault["details"]:
        error["details"] = [{"name": name, "value": value} for name, value in fault["details"]]
    return error
