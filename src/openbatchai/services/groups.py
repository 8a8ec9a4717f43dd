"""Resource groups, provider registrations, subscription facts (clients.md section 5)."""

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Operation, Registration, ResourceGroup
from openbatchai.store.unit import Unit

from . import deletion
from .context import Context, group, record, writable_group

# Regions in which the real service was recorded (batchai-service.md section 16).
LOCATIONS = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus2": "West US 2",
    "westcentralus": "West Central US",
    "southcentralus": "South Central US",
    "northeurope": "North Europe",
    "westeurope": "West Europe",
    "australiaeast": "Australia East",
    "southeastasia": "Southeast Asia",
    "eastus2euap": "East US 2 EUAP",
}

# Registered from the start: nobody should have to wait for a registration that does nothing.
PROVIDERS = ("Microsoft.Batch", "Microsoft.BatchAI", "Microsoft.Resources", "Microsoft.Storage")


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
                Code.CONFLICT,
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


def patch(context: Context, name: str, tags: dict[str, str]) -> ResourceGroup:
    def work(unit: Unit) -> ResourceGroup:
        found = writable_group(unit, name)
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


def registration(context: Context, namespace: str) -> Registration:
    """Raises 404 InvalidResourceNamespace for a provider that we do not have."""
    known = next((p for p in PROVIDERS if ids.fold(p) == ids.fold(namespace)), None)
    if known is None:
        raise ServiceError(
            404, Code.INVALID_RESOURCE_NAMESPACE, f"The resource namespace '{namespace}' is invalid."
        )
    with context.store.read() as unit:
        return unit.registrations.get(namespace=known) or Registration(known, "Registered")


def registrations(context: Context) -> list[Registration]:
    return [registration(context, name) for name in PROVIDERS]


def register(context: Context, namespace: str, state: str) -> Registration:
    registered = registration(context, namespace)
    registered.state = state

    def work(unit: Unit) -> None:
        unit.registrations.remove(namespace=registered.namespace)
        unit.registrations.add(registered)

    context.store.write(work)
    return registered
