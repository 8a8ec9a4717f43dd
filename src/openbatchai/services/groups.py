"""Resource groups (clients.md section 5)."""

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Operation, ResourceGroup
from openbatchai.store.unit import Unit

from . import deletion
from .context import Context, group, record, writable_group


def put(
    context: Context, name: str, location: str, tags: dict[str, str], actor: str
) -> tuple[ResourceGroup, bool]:
    """Create or update; the flag says whether it is new. Raises 409 when the location differs."""
    ids.check_group_name(name)
    now = context.clock.now()

    def work(unit: Unit) -> tuple[ResourceGroup, bool]:
        existing = unit.groups.get(key=ids.fold(name))
        if existing is None:
            created = ResourceGroup(ids.fold(name), name, location, tags, False, now)
            record(unit, now, "resourceGroup", created.key, "", "succeeded", "create", actor=actor)
            return unit.groups.add(created), True
        writable_group(unit, name)
        if ids.region(existing.location) != ids.region(location):
            raise ServiceError(
                409,
                Code.INVALID_GROUP_LOCATION,
                f"Invalid resource group location '{location}'. The Resource group already exists in "
                f"location '{existing.location}'.",
            )
        existing.tags = tags
        unit.groups.save(existing)
        return existing, False

    return context.store.write(work)


def get(context: Context, name: str) -> ResourceGroup:
    with context.store.read() as unit:
        return group(unit, name)


def patch(context: Context, name: str, tags: dict[str, str] | None) -> ResourceGroup:
    """Replace the tags (None: leave them)."""

    def work(unit: Unit) -> ResourceGroup:
        found = writable_group(unit, name)
        if tags is not None:
            found.tags = tags
            unit.groups.save(found)
        return found

    return context.store.write(work)


def listing(context: Context) -> list[ResourceGroup]:
    with context.store.read() as unit:
        return unit.groups.list(order=unit.groups.table.c.key)


def delete(context: Context, name: str, actor: str) -> Operation:
    """Delete with everything inside. Raises 404 ResourceGroupNotFound."""
    return context.store.write(lambda unit: deletion.delete_group(context, unit, group(unit, name), actor))
