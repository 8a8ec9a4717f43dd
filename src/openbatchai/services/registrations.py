"""Resource providers, and whether the subscription is registered for them."""

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ErrorDetail, ServiceError
from openbatchai.domain.model import Registration
from openbatchai.store.unit import Unit

from .context import Context

# Registered from the start: nobody should have to wait for a registration that does nothing.
PROVIDERS = ("Microsoft.Batch", "Microsoft.BatchAI", "Microsoft.Resources", "Microsoft.Storage")
# ARM itself: it takes no registration, and none can be taken away.
FREE = "Microsoft.Resources"

REGISTERED, UNREGISTERED = "Registered", "Unregistered"


def known(namespace: str) -> str | None:
    """Our spelling of a provider's name; None for one that we do not have."""
    return next((name for name in PROVIDERS if ids.fold(name) == ids.fold(namespace)), None)


def get(context: Context, namespace: str) -> Registration:
    """Raises 404 InvalidResourceNamespace for a provider that we do not have."""
    name = known(namespace)
    if name is None:
        raise ServiceError(
            404, Code.INVALID_RESOURCE_NAMESPACE, f"The resource namespace '{namespace}' is invalid."
        )
    with context.store.read() as unit:
        return _find(unit, name)


def listing(context: Context) -> list[Registration]:
    with context.store.read() as unit:
        return [_find(unit, name) for name in PROVIDERS]


def register(context: Context, namespace: str) -> Registration:
    return _set(context, get(context, namespace).namespace, REGISTERED)


def unregister(context: Context, namespace: str) -> Registration:
    """Raises 409 while there are resources of the provider."""
    name = get(context, namespace).namespace
    if name == FREE:
        raise ServiceError(409, Code.CONFLICT, f"The resource namespace '{name}' takes no registration.")
    return _set(context, name, UNREGISTERED)


def check(context: Context, namespace: str) -> None:
    """Raises 409 MissingSubscriptionRegistration, by which clients know that they have to register first:
    azure-mgmt-core takes the namespace out of the message, does so and asks again."""
    found = get(context, namespace)
    if found.state != REGISTERED:
        message = (
            f"The subscription is not registered to use namespace '{found.namespace}'. "
            "See https://aka.ms/rps-not-found for how to register subscriptions."
        )
        raise ServiceError(
            409,
            Code.MISSING_REGISTRATION,
            message,
            details=(ErrorDetail(Code.MISSING_REGISTRATION, message, found.namespace),),
        )


def _find(unit: Unit, name: str) -> Registration:
    return unit.registrations.get(namespace=name) or Registration(name, REGISTERED)


def _set(context: Context, name: str, state: str) -> Registration:
    def work(unit: Unit) -> Registration:
        if state == UNREGISTERED:
            _refuse_if_used(unit, name)
        wanted = Registration(name, state)
        unit.registrations.remove(namespace=name)
        return unit.registrations.add(wanted)

    return context.store.write(work)


def _refuse_if_used(unit: Unit, name: str) -> None:
    used = {"Microsoft.BatchAI": unit.workspaces.count, "Microsoft.Storage": unit.accounts.count}
    if name in used and (number := used[name]()):
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"The resource namespace '{name}' cannot be unregistered: the subscription has {number} of its "
            "resources. Delete them first.",
        )
