"""Where the two flat api-versions have their resources: workspaces named after the location."""

from collections.abc import Callable

from openbatchai.domain import ids
from openbatchai.domain.errors import ServiceError
from openbatchai.domain.model import Workspace
from openbatchai.store.unit import Unit

from . import workspaces
from .context import Context, other_location, refuse_while_deleting, writable_group

# A version's own 404 for (kind, group, name).
NotFound = Callable[[str, str, str], ServiceError]


def flat_workspace(context: Context, unit: Unit, group_name: str, location: str, actor: str) -> Workspace:
    """The workspace in which the flat api-versions create, made when it is missing."""
    owner = writable_group(unit, group_name)
    name = ids.migrated_workspace(location)
    found = unit.workspaces.get(group_key=owner.key, key=name)
    if found is None:
        found = workspaces.add(context, unit, owner, name, location, {}, actor)
    refuse_while_deleting("workspace", found.name, found.deleting)
    return found


def check_place(parent: Workspace, name: str, wanted: str) -> None:
    """Raises 409 when a request of a flat api-version names another location than the resource has; those of
    2018-05-01 name none."""
    if wanted and ids.region(parent.location) != ids.region(wanted):
        raise other_location(name, parent.location, parent.group_name, wanted)


def flat_workspaces(unit: Unit, group_name: str | None = None) -> list[Workspace]:
    where = {} if group_name is None else {"group_key": ids.fold(group_name)}
    rows = unit.workspaces.list(order=unit.workspaces.table.c.id, **where)
    return [row for row in rows if ids.is_migrated_workspace(row.name)]
