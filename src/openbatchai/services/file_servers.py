"""File servers: create, read, delete, and which ones a mount names (batchai-service.md section 9).

Making and removing one are effects on the engine; the operations of PUT and DELETE end when those are done.
"""

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.model import FileServer, FileServerResource, Json, Operation, Submission, Workspace
from openbatchai.store.unit import Unit

from . import deletion
from .context import Context, new_etag, record, refuse_while_deleting, workspace, writable_group
from .flat import NotFound, check_place, flat_workspace, flat_workspaces
from .transitions import MAKE_FILE_SERVER, queue_effect

Found = tuple[Workspace, FileServer]


def put(
    context: Context, group_name: str, workspace_name: str | None, name: str, wanted: Submission, actor: str
) -> tuple[FileServerResource, Operation | None]:
    """Create, with the operation that makes it; None when the same one is there and made. Another one of
    that name: 409."""
    ids.check_name("fileServer", name, ids.DOTTED_NAME if workspace_name is None else ids.STRICT_NAME)
    fingerprint = context.store.fingerprint([wanted.spec, wanted.tags, wanted.secrets])

    def work(unit: Unit) -> tuple[FileServerResource, Operation | None]:
        writable_group(unit, group_name)
        if workspace_name is None:
            existing = _find_flat(unit, group_name, name)
            parent = (
                existing[0] if existing else flat_workspace(context, unit, group_name, wanted.location, actor)
            )
        else:
            parent = workspace(unit, group_name, workspace_name)
            refuse_while_deleting("workspace", parent.name, parent.deleting)
            existing = _find(unit, parent, name)
        if existing is None:
            server = _add(context, unit, parent, name, wanted, fingerprint, actor)
        else:
            server = existing[1]
            check_place(existing[0], server.name, wanted.location)
            _check_same(server, fingerprint)
        names = _names(parent, server, workspace_name)
        operation = (
            None
            if server.facts
            else deletion.start_operation(context, unit, deletion.MAKE, server.id, names, parent.location)
        )
        return FileServerResource(server, parent), operation

    return context.store.write(work)


def _add(
    context: Context,
    unit: Unit,
    parent: Workspace,
    name: str,
    wanted: Submission,
    fingerprint: str,
    actor: str,
) -> FileServer:
    now = context.clock.now()
    server = unit.file_servers.add(
        FileServer(
            id=0,
            workspace_id=parent.id,
            key=ids.fold(name),
            name=name,
            spec=wanted.spec,
            location=wanted.location,
            tags=wanted.tags,
            fingerprint=fingerprint,
            deleting=False,
            created=now,
            changed=now,
            etag=new_etag(),
            modified=now,
            facts={},
            secrets=wanted.secrets,
        )
    )
    record(unit, now, "fileServer", str(server.id), "", "creating", "create", actor=actor)
    queue_effect(unit, MAKE_FILE_SERVER, str(server.id))
    return server


def _check_same(server: FileServer, fingerprint: str) -> None:
    refuse_while_deleting("file server", server.name, server.deleting)
    if server.fingerprint != fingerprint:
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"A file server with name {server.name} already exists with different properties.",
            target="fileServerName",
        )


def _names(parent: Workspace, server: FileServer, workspace_name: str | None) -> tuple[str, ...]:
    return (parent.group_name, *(() if workspace_name is None else (parent.name,)), server.name)


def _find(unit: Unit, parent: Workspace, name: str) -> Found | None:
    found = unit.file_servers.get(workspace_id=parent.id, key=ids.fold(name))
    return None if found is None else (parent, found)


def _find_flat(unit: Unit, group_name: str, name: str) -> Found | None:
    for parent in flat_workspaces(unit, group_name):
        if found := _find(unit, parent, name):
            return found
    return None


def find(unit: Unit, group_name: str, workspace_name: str | None, name: str, not_found: NotFound) -> Found:
    """Raises the version's own 404."""
    if workspace_name is None:
        found = _find_flat(unit, group_name, name)
    else:
        found = _find(unit, workspace(unit, group_name, workspace_name), name)
    if found is None:
        raise not_found("fileServer", group_name, name)
    return found


def get(
    context: Context, group_name: str, workspace_name: str | None, name: str, not_found: NotFound
) -> FileServerResource:
    """Raises the version's own 404."""
    with context.store.read() as unit:
        parent, server = find(unit, group_name, workspace_name, name, not_found)
    return FileServerResource(server, parent)


def list_of_workspace(context: Context, group_name: str, workspace_name: str) -> list[FileServerResource]:
    with context.store.read() as unit:
        return _list(unit, [workspace(unit, group_name, workspace_name)])


def list_flat(context: Context, group_name: str | None) -> list[FileServerResource]:
    with context.store.read() as unit:
        return _list(unit, flat_workspaces(unit, group_name))


def _list(unit: Unit, parents: list[Workspace]) -> list[FileServerResource]:
    by_id = {parent.id: parent for parent in parents}
    rows = unit.file_servers.list(workspace_id=list(by_id), order=unit.file_servers.table.c.id)
    return [FileServerResource(row, by_id[row.workspace_id]) for row in rows]


def delete(
    context: Context, group_name: str, workspace_name: str | None, name: str, actor: str
) -> Operation | None:
    """Delete with all its files; None when there is none. 409 while clusters mount it."""

    def work(unit: Unit) -> Operation | None:
        if workspace_name is None:
            found = _find_flat(unit, group_name, name)
        else:
            parent = unit.workspaces.get(group_key=ids.fold(group_name), key=ids.fold(workspace_name))
            found = None if parent is None else _find(unit, parent, name)
        if found is None:
            return None
        parent, server = found
        _refuse_while_mounted(context, unit, parent, server)
        names = _names(parent, server, workspace_name)
        return deletion.delete_file_server(context, unit, parent, server, names, actor)

    return context.store.write(work)


def _refuse_while_mounted(context: Context, unit: Unit, parent: Workspace, server: FileServer) -> None:
    own = ids.fold(ids.file_server_id(context.subscription, parent.group_name, parent.name, server.name))
    mounting = [
        cluster.name
        for cluster in unit.clusters.list(order=unit.clusters.table.c.id)
        if any(ids.fold(reference["fileServer"]["id"]) == own for reference in _references(cluster.spec))
    ]
    if mounting:
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"The file server {server.name} is mounted by clusters that must be deleted first: "
            f"{', '.join(mounting)}.",
        )


def _references(spec: Json) -> list[Json]:
    volumes = (spec.get("nodeSetup") or {}).get("mountVolumes") or {}
    return volumes.get("fileServers") or []


def resolve(context: Context, unit: Unit, volumes: Json, path: str) -> None:
    """Write the ids of mounted file servers as 2018-05-01 does. Raises InvalidPropertyValue for one that
    does not exist or is being deleted; `path` is the JSON path of `volumes`."""
    for position, reference in enumerate(volumes.get("fileServers") or ()):
        given = reference["fileServer"]["id"]
        found = _of_id(context, unit, given)
        if found is None or found[1].deleting:
            raise invalid_property(
                f"{path}.fileServers.{position}.fileServer.id",
                f"The specified file server {given} is not found.",
            )
        parent, server = found
        reference["fileServer"]["id"] = ids.file_server_id(
            context.subscription, parent.group_name, parent.name, server.name
        )


def _of_id(context: Context, unit: Unit, given: str) -> Found | None:
    ref = ids.parse_file_server_id(given)
    if ref is None or ids.fold(ref.subscription) != ids.fold(context.subscription):
        return None
    if not ref.workspace:
        return _find_flat(unit, ref.group, ref.name)
    parent = unit.workspaces.get(group_key=ids.fold(ref.group), key=ids.fold(ref.workspace))
    return None if parent is None else _find(unit, parent, ref.name)
