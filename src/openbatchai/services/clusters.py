"""Clusters: create, read, resize, delete (batchai-service.md section 8)."""

import uuid

from sqlalchemy import select, true

from openbatchai.domain import ids
from openbatchai.domain.clusters import AllocationEvent, AllocationState, scale_of
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Cluster, ClusterResource, Json, Operation, Submission, Workspace
from openbatchai.domain.ports import MountLevel
from openbatchai.domain.tasks import secrets_below
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from . import deletion, mounting, usages
from .context import Context, new_etag, record, refuse_while_deleting, workspace, writable_group
from .flat import NotFound, check_place, flat_workspace, flat_workspaces
from .transitions import move_cluster


def put(
    context: Context, group_name: str, workspace_name: str | None, name: str, wanted: Submission, actor: str
) -> ClusterResource:
    """Create; the same request again gives the existing cluster, another one 409.

    `workspace_name` None means a flat api-version: the workspace of the location is made when needed.
    """
    ids.check_name("cluster", name, ids.DOTTED_NAME if workspace_name is None else ids.STRICT_NAME)
    fingerprint = context.store.fingerprint([wanted.spec, wanted.legacy, wanted.tags, wanted.secrets])

    def work(unit: Unit) -> ClusterResource:
        owner = writable_group(unit, group_name)
        if workspace_name is None:
            existing = _find_flat(unit, group_name, name)
            if existing is not None:
                check_place(existing[0], existing[1].name, wanted.location)
                return _same(unit, existing, fingerprint)
            parent = flat_workspace(context, unit, group_name, wanted.location, actor)
        else:
            parent = workspace(unit, group_name, workspace_name)
            refuse_while_deleting("workspace", parent.name, parent.deleting)
            existing = _find(unit, parent, name)
            if existing is not None:
                return _same(unit, existing, fingerprint)
        setup = wanted.spec.get("nodeSetup") or {}
        secrets = secrets_below(wanted.secrets, "nodeSetup")
        mounting.check(context, unit, setup, secrets, MountLevel.CLUSTER, "properties.nodeSetup")
        created = _add(context, unit, parent, owner.name, name, wanted, fingerprint, actor)
        return ClusterResource(created, parent, ())

    return context.store.write(work)


def _add(
    context: Context,
    unit: Unit,
    parent: Workspace,
    group_name: str,
    name: str,
    wanted: Submission,
    fingerprint: str,
    actor: str,
) -> Cluster:
    now = context.clock.now()
    scale = scale_of(wanted.spec)
    middle = f"workspaces/{parent.name}/clusters" if not wanted.location else "clusters"
    cluster = Cluster(
        id=0,
        workspace_id=parent.id,
        key=ids.fold(name),
        name=name,
        spec=wanted.spec,
        legacy=wanted.legacy,
        location=wanted.location,
        tags=wanted.tags,
        fingerprint=fingerprint,
        deleting=False,
        created=now,
        changed=now,
        etag=new_etag(),
        modified=now,
        # Even a cluster of no nodes is written as resizing only when it has a way to go.
        allocation_state=AllocationState.RESIZING if scale.initial else AllocationState.STEADY,
        allocation_changed=now,
        target=scale.initial,
        errors=[],
        setup_suffix=f"{context.subscription}/{group_name}/{middle}/{name}/{uuid.uuid4()}",
        secrets=wanted.secrets,
    )
    usages.check(context, unit, cluster, parent.location)
    unit.clusters.add(cluster)
    record(unit, now, "cluster", str(cluster.id), "", cluster.allocation_state, "create", actor=actor)
    return cluster


def _same(unit: Unit, existing: tuple[Workspace, Cluster], fingerprint: str) -> ClusterResource:
    parent, cluster = existing
    refuse_while_deleting("cluster", cluster.name, cluster.deleting)
    if cluster.fingerprint != fingerprint:
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"A cluster with name {cluster.name} already exists with different properties.",
            target="clusterName",
        )
    return _resource(unit, parent, cluster)


def _resource(unit: Unit, parent: Workspace, cluster: Cluster) -> ClusterResource:
    c = tables.nodes.c
    # One that waits for room is no node yet.
    states = select(c.state).where(c.cluster_id == cluster.id, c.provisioned == true())
    return ClusterResource(cluster, parent, tuple(unit.connection.scalars(states)))


def _find(unit: Unit, parent: Workspace, name: str) -> tuple[Workspace, Cluster] | None:
    found = unit.clusters.get(workspace_id=parent.id, key=ids.fold(name))
    return None if found is None else (parent, found)


def _find_flat(unit: Unit, group_name: str, name: str) -> tuple[Workspace, Cluster] | None:
    for parent in flat_workspaces(unit, group_name):
        if found := _find(unit, parent, name):
            return found
    return None


def find(
    unit: Unit, group_name: str, workspace_name: str | None, name: str, not_found: NotFound
) -> tuple[Workspace, Cluster]:
    """Raises the version's own 404."""
    if workspace_name is None:
        found = _find_flat(unit, group_name, name)
    else:
        found = _find(unit, workspace(unit, group_name, workspace_name), name)
    if found is None:
        raise not_found("cluster", group_name, name)
    return found


def get(
    context: Context, group_name: str, workspace_name: str | None, name: str, not_found: NotFound
) -> ClusterResource:
    with context.store.read() as unit:
        return _resource(unit, *find(unit, group_name, workspace_name, name, not_found))


def list_of_workspace(context: Context, group_name: str, workspace_name: str) -> list[ClusterResource]:
    with context.store.read() as unit:
        return _list(unit, [workspace(unit, group_name, workspace_name)])


def list_flat(context: Context, group_name: str | None) -> list[ClusterResource]:
    with context.store.read() as unit:
        return _list(unit, flat_workspaces(unit, group_name))


def _list(unit: Unit, parents: list[Workspace]) -> list[ClusterResource]:
    by_id = {parent.id: parent for parent in parents}
    rows = unit.clusters.list(workspace_id=list(by_id), order=unit.clusters.table.c.id)
    return [_resource(unit, by_id[row.workspace_id], row) for row in rows]


def patch(
    context: Context,
    group_name: str,
    workspace_name: str | None,
    name: str,
    scale_settings: Json | None,
    tags: Json | None,
    not_found: NotFound,
    actor: str,
) -> ClusterResource:
    """Replace the scale settings whole, and the tags. The answer shows the state before (section 8.3)."""
    now = context.clock.now()

    def work(unit: Unit) -> ClusterResource:
        parent, cluster = find(unit, group_name, workspace_name, name, not_found)
        refuse_while_deleting("cluster", name, cluster.deleting)
        if tags is not None:
            cluster.tags = tags
        if scale_settings is not None:
            cluster.spec = cluster.spec | {"scaleSettings": scale_settings}
            usages.check(context, unit, cluster, parent.location)
        cluster.etag, cluster.modified = new_etag(), now
        unit.clusters.save(cluster)
        state = cluster.allocation_state
        record(unit, now, "cluster", str(cluster.id), state, state, "update", actor=actor)
        return _resource(unit, parent, cluster)

    return context.store.write(work)


def set_target(unit: Unit, cluster: Cluster, target: int, context: Context) -> None:
    cluster.target = target
    move_cluster(unit, cluster, AllocationEvent.RESIZE, context.clock.now(), f"target is {target}")
    unit.clusters.save(cluster)


def delete(
    context: Context, group_name: str, workspace_name: str | None, name: str, actor: str
) -> Operation | None:
    """None when there is none."""

    def work(unit: Unit) -> Operation | None:
        if workspace_name is None:
            found = _find_flat(unit, group_name, name)
        else:
            parent = unit.workspaces.get(group_key=ids.fold(group_name), key=ids.fold(workspace_name))
            found = None if parent is None else _find(unit, parent, name)
        if found is None:
            return None
        parent, cluster = found
        names = (parent.group_name, *(() if workspace_name is None else (parent.name,)), cluster.name)
        return deletion.delete_cluster(context, unit, parent, cluster, names, actor)

    return context.store.write(work)
