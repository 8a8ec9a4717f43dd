"""Workspaces and experiments (batchai-service.md section 7)."""

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Experiment, Operation, ResourceGroup, Workspace
from openbatchai.store.unit import Unit

from . import deletion
from .context import (
    Context,
    group,
    new_etag,
    other_location,
    record,
    refuse_while_deleting,
    workspace,
    writable_group,
)


def put(
    context: Context, group_name: str, name: str, location: str, tags: dict[str, str], actor: str
) -> Workspace:
    """Create, or return the existing one when the request is the same. The location is immutable."""
    ids.check_name("workspace", name, ids.STRICT_NAME)
    ids.check_location(location, "Microsoft.BatchAI/workspaces")

    def work(unit: Unit) -> Workspace:
        owner = writable_group(unit, group_name)
        existing = unit.workspaces.get(group_key=owner.key, key=ids.fold(name))
        if existing is None:
            return add(context, unit, owner, name, location, tags, actor)
        refuse_while_deleting("workspace", name, existing.deleting)
        if ids.region(existing.location) != ids.region(location):
            raise other_location(existing.name, existing.location, group_name, location)
        if existing.tags != tags:
            existing.tags, existing.etag = tags, new_etag()
            unit.workspaces.save(existing)
        return existing

    return context.store.write(work)


def add(
    context: Context,
    unit: Unit,
    owner: ResourceGroup,
    name: str,
    location: str,
    tags: dict[str, str],
    actor: str,
) -> Workspace:
    now = context.clock.now()
    created = unit.workspaces.add(
        Workspace(0, owner.key, owner.name, ids.fold(name), name, location, tags, False, now, now, new_etag())
    )
    record(unit, now, "workspace", str(created.id), "", "succeeded", "create", actor=actor)
    return created


def patch(context: Context, group_name: str, name: str, tags: dict[str, str] | None) -> Workspace:
    """Replace the tags (None: leave them)."""

    def work(unit: Unit) -> Workspace:
        found = workspace(unit, group_name, name)
        refuse_while_deleting("workspace", name, found.deleting)
        if tags is not None and tags != found.tags:
            found.tags, found.etag = tags, new_etag()
            unit.workspaces.save(found)
        return found

    return context.store.write(work)


def get(context: Context, group_name: str, name: str) -> Workspace:
    with context.store.read() as unit:
        return workspace(unit, group_name, name)


def listing(context: Context, group_name: str | None = None) -> list[Workspace]:
    with context.store.read() as unit:
        where = {} if group_name is None else {"group_key": group(unit, group_name).key}
        return unit.workspaces.list(order=unit.workspaces.table.c.id, **where)


def delete(context: Context, group_name: str, name: str, actor: str) -> Operation | None:
    """Delete with everything inside; None when there is none."""

    def work(unit: Unit) -> Operation | None:
        found = unit.workspaces.get(group_key=ids.fold(group_name), key=ids.fold(name))
        return None if found is None else deletion.delete_workspace(context, unit, found, actor)

    return context.store.write(work)


def experiment(unit: Unit, group_name: str, workspace_name: str, name: str) -> tuple[Workspace, Experiment]:
    """Raises 404 WorkspaceNotFound or ExperimentNotFound."""
    parent = workspace(unit, group_name, workspace_name)
    found = unit.experiments.get(workspace_id=parent.id, key=ids.fold(name))
    if found is None:
        raise ServiceError(404, Code.EXPERIMENT_NOT_FOUND, f"The specified experiment {name} is not found")
    return parent, found


def put_experiment(
    context: Context, group_name: str, workspace_name: str, name: str, actor: str
) -> tuple[Workspace, Experiment]:
    ids.check_name("experiment", name, ids.STRICT_NAME)

    def work(unit: Unit) -> tuple[Workspace, Experiment]:
        writable_group(unit, group_name)
        parent = workspace(unit, group_name, workspace_name)
        refuse_while_deleting("workspace", parent.name, parent.deleting)
        existing = unit.experiments.get(workspace_id=parent.id, key=ids.fold(name))
        if existing is not None:
            refuse_while_deleting("experiment", name, existing.deleting)
            return parent, existing
        return parent, add_experiment(context, unit, parent, name, actor)

    return context.store.write(work)


def add_experiment(context: Context, unit: Unit, parent: Workspace, name: str, actor: str) -> Experiment:
    now = context.clock.now()
    created = unit.experiments.add(
        Experiment(0, parent.id, ids.fold(name), name, False, now, now, new_etag())
    )
    record(unit, now, "experiment", str(created.id), "", "succeeded", "create", actor=actor)
    return created


def get_experiment(
    context: Context, group_name: str, workspace_name: str, name: str
) -> tuple[Workspace, Experiment]:
    with context.store.read() as unit:
        return experiment(unit, group_name, workspace_name, name)


def list_experiments(
    context: Context, group_name: str, workspace_name: str
) -> tuple[Workspace, list[Experiment]]:
    with context.store.read() as unit:
        parent = workspace(unit, group_name, workspace_name)
        return parent, unit.experiments.list(workspace_id=parent.id, order=unit.experiments.table.c.id)


def delete_experiment(
    context: Context, group_name: str, workspace_name: str, name: str, actor: str
) -> Operation | None:
    """Delete with its jobs; None when there is none."""

    def work(unit: Unit) -> Operation | None:
        parent = unit.workspaces.get(group_key=ids.fold(group_name), key=ids.fold(workspace_name))
        if parent is None:
            return None
        found = unit.experiments.get(workspace_id=parent.id, key=ids.fold(name))
        if found is None:
            return None
        return deletion.delete_experiment(context, unit, parent, found, actor)

    return context.store.write(work)
