"""Deleting: marks first, then removes from the leaves upward as work comes to its end.

A delete request marks the object and all below it and is answered at once; `sweep` removes what has nothing
left below it, and ends the operations that waited for it (batchai-service.md section 17).
"""

import uuid

from openbatchai.domain.clusters import AllocationEvent
from openbatchai.domain.errors import Code, Fault
from openbatchai.domain.jobs import FINISHED, STOP_MESSAGES, JobEvent
from openbatchai.domain.model import Cluster, Experiment, FileServer, Job, Operation, ResourceGroup, Workspace
from openbatchai.store.unit import Unit

from . import gone
from .context import Context, record
from .transitions import FORGET_TASK, REMOVE_FILE_SERVER, move_cluster, move_job, queue_effect

DELETE_ACCOUNT = "deleteAccount"
TERMINATE = "terminate"
MAKE = "makeFileServer"


def start_operation(
    context: Context,
    unit: Unit,
    kind: str,
    target: int,
    resource: tuple[str, ...],
    location: str,
    target_key: str = "",
) -> Operation:
    """`resource` are the names that the recorded service joined with `$` (section 4.1)."""
    unit.changed = True
    return unit.operations.add(
        Operation(
            id=str(uuid.uuid4()),
            kind=kind,
            target=target,
            target_key=target_key,
            resource_id="$".join((context.subscription, *resource)),
            location=location,
            started=context.clock.now(),
        )
    )


def delete_group(context: Context, unit: Unit, group: ResourceGroup, actor: str) -> Operation:
    if not group.deleting:
        group.deleting = True
        unit.groups.save(group)
        record(
            unit,
            context.clock.now(),
            "resourceGroup",
            group.key,
            "succeeded",
            "deleting",
            "delete",
            actor=actor,
        )
        for workspace in unit.workspaces.list(group_key=group.key):
            _mark_workspace(context, unit, workspace, actor)
    return start_operation(context, unit, "group", 0, (group.name,), group.location, target_key=group.key)


def delete_workspace(context: Context, unit: Unit, workspace: Workspace, actor: str) -> Operation:
    _mark_workspace(context, unit, workspace, actor)
    names = (workspace.group_name, workspace.name)
    return start_operation(context, unit, "workspace", workspace.id, names, workspace.location)


def delete_experiment(
    context: Context, unit: Unit, workspace: Workspace, experiment: Experiment, actor: str
) -> Operation:
    _mark_experiment(context, unit, experiment, actor)
    names = (workspace.group_name, workspace.name, experiment.name)
    return start_operation(context, unit, "experiment", experiment.id, names, workspace.location)


def delete_cluster(
    context: Context, unit: Unit, workspace: Workspace, cluster: Cluster, names: tuple[str, ...], actor: str
) -> Operation:
    _mark_cluster(context, unit, cluster, actor)
    return start_operation(context, unit, "cluster", cluster.id, names, workspace.location)


def delete_file_server(
    context: Context, unit: Unit, workspace: Workspace, server: FileServer, names: tuple[str, ...], actor: str
) -> Operation:
    _mark_file_server(context, unit, server, actor)
    return start_operation(context, unit, "fileServer", server.id, names, workspace.location)


def delete_job(
    context: Context, unit: Unit, workspace: Workspace, job: Job, names: tuple[str, ...], actor: str
) -> Operation:
    _mark_job(context, unit, job, actor)
    return start_operation(context, unit, "job", job.id, names, workspace.location)


def terminate_job(
    context: Context, unit: Unit, job: Job, actor: str, fault: Fault = Fault.JOB_TERMINATED
) -> None:
    """Stop the job for good: at once when queued, else when its processes are gone."""
    event = JobEvent.CLUSTER_DELETED if fault is Fault.CLUSTER_DELETED else JobEvent.TERMINATE
    if not job.stop_reason:
        job.stop_reason = fault
        job.requeue = False
        job.errors = [{"code": str(fault), "message": STOP_MESSAGES[fault]}]
    move_job(unit, job, event, context.clock.now(), STOP_MESSAGES[fault], actor)


def _mark_workspace(context: Context, unit: Unit, workspace: Workspace, actor: str) -> None:
    if workspace.deleting:
        return
    workspace.deleting, workspace.changed = True, context.clock.now()
    unit.workspaces.save(workspace)
    record(
        unit,
        workspace.changed,
        "workspace",
        str(workspace.id),
        "succeeded",
        "deleting",
        "delete",
        actor=actor,
    )
    # Jobs first: one that is deleted on purpose should not say that its cluster vanished.
    for experiment in unit.experiments.list(workspace_id=workspace.id):
        _mark_experiment(context, unit, experiment, actor)
    for cluster in unit.clusters.list(workspace_id=workspace.id):
        _mark_cluster(context, unit, cluster, actor)
    for server in unit.file_servers.list(workspace_id=workspace.id):
        _mark_file_server(context, unit, server, actor)


def _mark_file_server(context: Context, unit: Unit, server: FileServer, actor: str) -> None:
    if server.deleting:
        return
    server.deleting, server.changed = True, context.clock.now()
    unit.file_servers.save(server)
    record(unit, server.changed, "fileServer", str(server.id), "succeeded", "deleting", "delete", actor=actor)


def _mark_experiment(context: Context, unit: Unit, experiment: Experiment, actor: str) -> None:
    if experiment.deleting:
        return
    experiment.deleting, experiment.changed = True, context.clock.now()
    unit.experiments.save(experiment)
    record(
        unit,
        experiment.changed,
        "experiment",
        str(experiment.id),
        "succeeded",
        "deleting",
        "delete",
        actor=actor,
    )
    for job in unit.jobs.list(experiment_id=experiment.id):
        _mark_job(context, unit, job, actor)


def _mark_cluster(context: Context, unit: Unit, cluster: Cluster, actor: str) -> None:
    if cluster.deleting:
        return
    now = context.clock.now()
    cluster.deleting, cluster.changed = True, now
    move_cluster(unit, cluster, AllocationEvent.RESIZE, now, "cluster is being deleted", actor)
    unit.clusters.save(cluster)
    record(unit, now, "cluster", str(cluster.id), "succeeded", "deleting", "delete", actor=actor)
    for job in unit.jobs.list(cluster_id=cluster.id):
        if job.execution_state not in FINISHED:
            terminate_job(context, unit, job, actor, Fault.CLUSTER_DELETED)


def _mark_job(context: Context, unit: Unit, job: Job, actor: str) -> None:
    if job.deleting:
        return
    job.deleting, job.changed = True, context.clock.now()
    record(unit, job.changed, "job", str(job.id), "succeeded", "deleting", "delete", actor=actor)
    if job.execution_state in FINISHED:
        unit.jobs.save(job)
    else:
        terminate_job(context, unit, job, actor)


def sweep(context: Context, unit: Unit) -> bool:
    """Remove what is marked and has nothing left below it; end the operations that are done. What cannot be
    removed keeps nothing else, and is tried again the next time.

    Returns whether some go on. Whatever is to be deleted has an operation until it is gone, so without one
    there is nothing to look for.
    """
    if not unit.operations.count(ended=None):
        return False
    # One that is damaged must not keep all others from their end, and from their decisions.
    told = context.kept.undeletable
    # Both in one condition would be answered by the index of states: all jobs that ever finished.
    for job in unit.jobs.list(deleting=True):
        if job.execution_state in FINISHED:
            with unit.isolated(f"the deletion of job {job.id}", told):
                _remove_job(context, unit, job)
    for cluster in unit.clusters.list(deleting=True):
        with unit.isolated(f"the deletion of cluster {cluster.id}", told):
            _sweep_cluster(context, unit, cluster)
    for server in unit.file_servers.list(deleting=True):
        with unit.isolated(f"the deletion of file server {server.id}", told):
            _sweep_file_server(unit, server)
    for experiment in unit.experiments.list(deleting=True):
        with unit.isolated(f"the deletion of experiment {experiment.id}", told):
            _sweep_experiment(context, unit, experiment)
    for workspace in unit.workspaces.list(deleting=True):
        with unit.isolated(f"the deletion of workspace {workspace.id}", told):
            _sweep_workspace(context, unit, workspace)
    for group in unit.groups.list(deleting=True):
        with unit.isolated(f"the deletion of resource group {group.name}", told):
            if unit.workspaces.count(group_key=group.key) == 0:
                _remove_group(unit, group)
    _end_operations(context, unit)
    return unit.operations.count(ended=None) > 0


def _sweep_cluster(context: Context, unit: Unit, cluster: Cluster) -> None:
    if unit.nodes.count(cluster_id=cluster.id) == 0:
        names = (*_place(unit, cluster.workspace_id), cluster.name)
        gone.remember(context, unit, "cluster", str(cluster.id), names)
        unit.clusters.remove(id=cluster.id)


def _sweep_file_server(unit: Unit, server: FileServer) -> None:
    # After the clusters of its workspace, which may mount it; its row goes with its files.
    waits = unit.clusters.count(workspace_id=server.workspace_id, deleting=True) > 0
    if not waits and not unit.outbox.count(kind=REMOVE_FILE_SERVER, object_id=str(server.id)):
        queue_effect(unit, REMOVE_FILE_SERVER, str(server.id))


def _sweep_experiment(context: Context, unit: Unit, experiment: Experiment) -> None:
    if unit.jobs.count(experiment_id=experiment.id) == 0:
        names = (*_place(unit, experiment.workspace_id), experiment.name)
        gone.remember(context, unit, "experiment", str(experiment.id), names)
        unit.experiments.remove(id=experiment.id)


def _sweep_workspace(context: Context, unit: Unit, workspace: Workspace) -> None:
    below = (unit.clusters, unit.experiments, unit.file_servers)
    if all(rows.count(workspace_id=workspace.id) == 0 for rows in below):
        place = (workspace.group_name, workspace.name)
        gone.remember(context, unit, "workspace", str(workspace.id), place)
        unit.workspaces.remove(id=workspace.id)


def _remove_job(context: Context, unit: Unit, job: Job) -> None:
    parts = [("run", run.id) for run in unit.runs.list(job_id=job.id)]
    for task in unit.tasks.list(job_id=job.id):
        parts.append(("task", task.id))
        queue_effect(unit, FORGET_TASK, task.id)
    experiment = unit.experiments.get(id=job.experiment_id)
    if experiment is not None:
        names = (*_place(unit, experiment.workspace_id), experiment.name, job.name)
        gone.remember(context, unit, "job", str(job.id), names, parts)
    unit.tasks.remove(job_id=job.id)
    unit.runs.remove(job_id=job.id)
    unit.jobs.remove(id=job.id)


def _place(unit: Unit, workspace_id: int) -> tuple[str, str]:
    """Group and workspace."""
    parent = unit.workspaces.get(id=workspace_id)
    if parent is None:
        raise LookupError(f"workspace {workspace_id} went before what it holds")
    return parent.group_name, parent.name


def _remove_group(unit: Unit, group: ResourceGroup) -> None:
    for account in unit.accounts.list(group_key=group.key):
        unit.accounts.remove(key=account.key)
        queue_effect(unit, DELETE_ACCOUNT, account.key)
    unit.groups.remove(key=group.key)


def _end_operations(context: Context, unit: Unit) -> None:
    for operation in unit.operations.list(ended=None):
        if _is_done(unit, operation):
            operation.ended = context.clock.now()
            operation.error = _failure(unit, operation)
            unit.operations.save(operation)


def _failure(unit: Unit, operation: Operation) -> dict[str, str] | None:
    """What a poller is told of an operation that came to another end than it was asked for."""
    if operation.kind == MAKE and unit.file_servers.get(id=operation.target) is None:
        name = operation.resource_id.rpartition("$")[2]
        message = f"The file server {name} was deleted while it was being made."
        return {"code": Code.FILE_SERVER_NOT_FOUND, "message": message}
    return None


def _is_done(unit: Unit, operation: Operation) -> bool:
    if operation.kind == "group":
        return unit.groups.get(key=operation.target_key) is None and not unit.outbox.count(
            kind=DELETE_ACCOUNT
        )
    if operation.kind == TERMINATE:
        job = unit.jobs.get(id=operation.target)
        return job is None or job.execution_state in FINISHED
    if operation.kind == MAKE:
        server = unit.file_servers.get(id=operation.target)
        return server is None or bool(server.facts)
    counts = {
        "workspace": unit.workspaces.count,
        "experiment": unit.experiments.count,
        "cluster": unit.clusters.count,
        "job": unit.jobs.count,
        "fileServer": unit.file_servers.count,
    }
    return counts[operation.kind](id=operation.target) == 0
