"""Jobs: create, read, terminate, delete (batchai-service.md section 10)."""

import uuid

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.jobs import FINISHED, ExecutionState
from openbatchai.domain.model import Cluster, Experiment, Job, JobResource, Operation, Submission, Workspace
from openbatchai.domain.outputs import FLAT_LAYOUT
from openbatchai.domain.ports import MountLevel
from openbatchai.domain.tasks import limit_s
from openbatchai.store.unit import Unit

from . import clusters, deletion, mounting, workspaces
from .context import Context, new_etag, record, refuse_while_deleting, writable_group
from .flat import NotFound, check_place, flat_workspace, flat_workspaces

# Where a job of 2018-05-01 lives: (workspace, experiment). None for the flat api-versions.
Place = tuple[str, str] | None
Found = tuple[Workspace, Experiment, Job]


def put(
    context: Context,
    group_name: str,
    place: Place,
    name: str,
    wanted: Submission,
    priority: int,
    layout: str,
    actor: str,
) -> JobResource:
    """Create; the same request again gives the existing job, another one 409."""
    ids.check_name("job", name, ids.DOTTED_NAME if place is None else ids.STRICT_NAME)
    fingerprint = context.store.fingerprint([wanted.spec, wanted.legacy, wanted.tags, wanted.secrets])

    def work(unit: Unit) -> JobResource:
        writable_group(unit, group_name)
        existing = _find_flat(unit, group_name, name) if place is None else None
        if place is not None:
            parent, experiment = workspaces.experiment(unit, group_name, *place)
            refuse_while_deleting("experiment", experiment.name, experiment.deleting)
            existing = _find(unit, parent, experiment, name)
        if existing is not None:
            check_place(existing[0], existing[2].name, wanted.location)
            return _same(existing, fingerprint)
        cluster_parent, cluster = _cluster(context, unit, wanted.spec["cluster"]["id"])
        if place is None:
            parent = flat_workspace(context, unit, group_name, wanted.location, actor)
            experiment = _flat_experiment(context, unit, parent, actor)
        wanted.spec["cluster"]["id"] = ids.cluster_id(
            context.subscription, cluster_parent.group_name, cluster_parent.name, cluster.name
        )
        mounting.check(context, unit, wanted.spec, wanted.secrets, MountLevel.JOB, "properties")
        job = _add(
            context, unit, parent, experiment, name, wanted, cluster, priority, layout, fingerprint, actor
        )
        return JobResource(job, experiment, parent)

    return context.store.write(work)


def _cluster(context: Context, unit: Unit, cluster_id: str) -> tuple[Workspace, Cluster]:
    """The cluster that a job names; it may be in another workspace or group."""
    missing = ServiceError(
        404,
        Code.CLUSTER_NOT_FOUND,
        f"The specified cluster {cluster_id} is not found",
        target="properties.cluster.id",
    )
    ref = ids.parse_cluster_id(cluster_id)
    if ref is None or ids.fold(ref.subscription) != ids.fold(context.subscription):
        raise missing
    try:
        found = clusters.find(
            unit, ref.group, ref.workspace or None, ref.name, lambda kind, group, name: missing
        )
    except ServiceError:
        raise missing from None
    refuse_while_deleting("cluster", ref.name, found[1].deleting)
    return found


def _flat_experiment(context: Context, unit: Unit, parent: Workspace, actor: str) -> Experiment:
    found = unit.experiments.get(workspace_id=parent.id, key=ids.MIGRATED_EXPERIMENT)
    if found is None:
        found = workspaces.add_experiment(context, unit, parent, ids.MIGRATED_EXPERIMENT, actor)
    refuse_while_deleting("experiment", found.name, found.deleting)
    return found


def _add(
    context: Context,
    unit: Unit,
    parent: Workspace,
    experiment: Experiment,
    name: str,
    wanted: Submission,
    cluster: Cluster,
    priority: int,
    layout: str,
    fingerprint: str,
    actor: str,
) -> Job:
    now = context.clock.now()
    job = unit.jobs.add(
        Job(
            id=0,
            experiment_id=experiment.id,
            key=ids.fold(name),
            name=name,
            spec=wanted.spec,
            legacy=wanted.legacy,
            location=wanted.location,
            tags=wanted.tags,
            fingerprint=fingerprint,
            cluster_id=cluster.id,
            priority=priority,
            node_count=wanted.spec["nodeCount"],
            limit_s=limit_s(wanted.spec),
            segment=_segment(context, parent, experiment, name, wanted, layout),
            layout=layout,
            deleting=False,
            created=now,
            changed=now,
            etag=new_etag(),
            modified=now,
            execution_state=ExecutionState.QUEUED,
            execution_changed=now,
            cluster_spec=cluster.spec.get("nodeSetup") or {},
            secrets=wanted.secrets,
        )
    )
    record(unit, now, "job", str(job.id), "", ExecutionState.QUEUED, "create", actor=actor)
    return job


def _segment(
    context: Context, parent: Workspace, experiment: Experiment, name: str, wanted: Submission, layout: str
) -> str:
    """`jobOutputDirectoryPathSegment` (section 13). A fresh UUID per job, except in 2017-09-01-preview."""
    start = f"{context.subscription}/{parent.group_name}"
    if layout == FLAT_LAYOUT:
        return f"{start}/jobs/{name}"
    if wanted.location:
        return f"{start}/jobs/{name}/{uuid.uuid4()}"
    return f"{start}/workspaces/{parent.name}/experiments/{experiment.name}/jobs/{name}/{uuid.uuid4()}"


def _same(existing: Found, fingerprint: str) -> JobResource:
    parent, experiment, job = existing
    refuse_while_deleting("job", job.name, job.deleting)
    if job.fingerprint != fingerprint:
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"A job with name {job.name} already exists with different properties.",
            target="jobName",
        )
    return JobResource(job, experiment, parent)


def _find(unit: Unit, parent: Workspace, experiment: Experiment, name: str) -> Found | None:
    job = unit.jobs.get(experiment_id=experiment.id, key=ids.fold(name))
    return None if job is None else (parent, experiment, job)


def _find_flat(unit: Unit, group_name: str, name: str) -> Found | None:
    for parent in flat_workspaces(unit, group_name):
        for experiment in unit.experiments.list(workspace_id=parent.id, key=ids.MIGRATED_EXPERIMENT):
            if found := _find(unit, parent, experiment, name):
                return found
    return None


def find(unit: Unit, group_name: str, place: Place, name: str, not_found: NotFound) -> Found:
    """Raises the version's own 404."""
    if place is None:
        found = _find_flat(unit, group_name, name)
    else:
        found = _find(unit, *workspaces.experiment(unit, group_name, *place), name)
    if found is None:
        raise not_found("job", group_name, name)
    return found


def get(context: Context, group_name: str, place: Place, name: str, not_found: NotFound) -> JobResource:
    with context.store.read() as unit:
        parent, experiment, job = find(unit, group_name, place, name, not_found)
        return JobResource(job, experiment, parent)


def list_of_experiment(
    context: Context, group_name: str, place: tuple[str, str], after: int, most: int
) -> list[JobResource]:
    """The oldest `most` jobs behind the one with the id `after`, in the order they were created."""
    with context.store.read() as unit:
        parent, experiment = workspaces.experiment(unit, group_name, *place)
        return _listed(unit, parent, experiment, after, most)


def list_flat(context: Context, group_name: str | None, after: int, most: int) -> list[JobResource]:
    """As list_of_experiment, of all that the flat api-versions see of a group, or of all groups."""
    with context.store.read() as unit:
        found = []
        for parent in flat_workspaces(unit, group_name):
            for experiment in unit.experiments.list(workspace_id=parent.id, key=ids.MIGRATED_EXPERIMENT):
                found += _listed(unit, parent, experiment, after, most)
        return sorted(found, key=lambda resource: resource.job.id)[:most]


def _listed(
    unit: Unit, parent: Workspace, experiment: Experiment, after: int, most: int
) -> list[JobResource]:
    column = unit.jobs.table.c.id
    rows = unit.jobs.list(column > after, experiment_id=experiment.id, order=column, limit=most)
    return [JobResource(job, experiment, parent) for job in rows]


def terminate(
    context: Context, group_name: str, place: Place, name: str, not_found: NotFound, actor: str
) -> Operation | None:
    """None when the job is already finished: nothing to do."""

    def work(unit: Unit) -> Operation | None:
        parent, experiment, job = find(unit, group_name, place, name, not_found)
        if job.execution_state in FINISHED:
            return None
        deletion.terminate_job(context, unit, job, actor)
        names = _names(parent, experiment, job, place)
        return deletion.start_operation(context, unit, deletion.TERMINATE, job.id, names, parent.location)

    return context.store.write(work)


def delete(context: Context, group_name: str, place: Place, name: str, actor: str) -> Operation | None:
    """None when there is none."""

    def missing(kind: str, group: str, name: str) -> ServiceError:
        return ServiceError(404, Code.JOB_NOT_FOUND, name)

    def work(unit: Unit) -> Operation | None:
        try:
            parent, experiment, job = find(unit, group_name, place, name, missing)
        except ServiceError:
            return None
        return deletion.delete_job(context, unit, parent, job, _names(parent, experiment, job, place), actor)

    return context.store.write(work)


def _names(parent: Workspace, experiment: Experiment, job: Job, place: Place) -> tuple[str, ...]:
    middle = () if place is None else (parent.name, experiment.name)
    return (parent.group_name, *middle, job.name)
