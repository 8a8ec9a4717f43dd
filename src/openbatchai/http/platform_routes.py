"""What surrounds Batch AI at ARM: subscriptions, resource groups, providers, storage accounts.

Any api-version is served with the same shape (clients.md sections 0, 5, 6 and 9).
"""

from openbatchai.dataplane import Storage
from openbatchai.services import groups, operations
from openbatchai.wire import arm, resources

from .calls import Answer, Call, Route, Routes
from .own_routes import own_routes
from .storage_rm.absent import absent_routes
from .storage_rm.accounts import account_routes
from .storage_rm.containers import ContainerRoutes
from .storage_rm.services import ServiceRoutes
from .storage_rm.shares import ShareRoutes

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"


def routes(storage: Storage) -> Routes:
    return Routes(
        [
            Route("GET", "/subscriptions", list_subscriptions),
            Route("GET", "/tenants", list_tenants),
            Route("GET", _SUBSCRIPTION, get_subscription),
            Route("GET", f"{_SUBSCRIPTION}/locations", list_locations),
            Route("GET", f"{_SUBSCRIPTION}/resourcegroups", list_groups),
            Route("PUT", _GROUP, put_group),
            Route("PATCH", _GROUP, patch_group),
            Route("GET", _GROUP, get_group),
            Route("HEAD", _GROUP, get_group_exists),
            Route("DELETE", _GROUP, delete_group),
            Route("GET", f"{_SUBSCRIPTION}/operationresults/{{operation}}", group_operation),
            Route("GET", f"{_SUBSCRIPTION}/providers", list_providers),
            Route("GET", f"{_SUBSCRIPTION}/providers/{{namespace}}", get_provider),
            Route("POST", f"{_SUBSCRIPTION}/providers/{{namespace}}/register", register),
            Route("POST", f"{_SUBSCRIPTION}/providers/{{namespace}}/unregister", unregister),
            *account_routes(),
            *ContainerRoutes(storage).routes(),
            *ShareRoutes(storage).routes(),
            *ServiceRoutes(storage).routes(),
            *absent_routes(),
            *own_routes(),
        ]
    )


def list_subscriptions(call: Call) -> Answer:
    return Answer(200, arm.list_body([resources.subscription(call.subscription, call.context.tenant)]))


def get_subscription(call: Call, subscription: str) -> Answer:
    return Answer(200, resources.subscription(call.subscription, call.context.tenant))


def list_tenants(call: Call) -> Answer:
    return Answer(200, arm.list_body([resources.tenant(call.context.tenant)]))


def list_locations(call: Call, subscription: str) -> Answer:
    return Answer(200, arm.list_body(resources.locations(groups.LOCATIONS, call.subscription)))


def put_group(call: Call, subscription: str, group: str) -> Answer:
    location, tags = resources.group_request(call.json())
    found, created = groups.put(call.context, group, location, tags, call.actor)
    return Answer(201 if created else 200, resources.group(found, call.subscription))


def patch_group(call: Call, subscription: str, group: str) -> Answer:
    found = groups.patch(call.context, group, resources.tags_of(call.json()))
    return Answer(200, resources.group(found, call.subscription))


def get_group(call: Call, subscription: str, group: str) -> Answer:
    return Answer(200, resources.group(groups.get(call.context, group), call.subscription))


def get_group_exists(call: Call, subscription: str, group: str) -> Answer:
    groups.get(call.context, group)
    return Answer(204)


def list_groups(call: Call, subscription: str) -> Answer:
    found = groups.listing(call.context)
    return Answer(200, arm.list_body(resources.group(item, call.subscription) for item in found))


def delete_group(call: Call, subscription: str, group: str) -> Answer:
    operation = groups.delete(call.context, group, call.actor)
    return Answer(202, None, _group_operation_headers(call, operation.id, arm.ACCEPTED_RETRY_AFTER))


def group_operation(call: Call, subscription: str, operation: str) -> Answer:
    """202 until the group is gone, then 200: the older of ARM's two polling protocols."""
    found = operations.get(call.context, operation)
    if found.ended is not None:
        return Answer(200)
    return Answer(202, None, _group_operation_headers(call, found.id, arm.POLL_RETRY_AFTER))


def _group_operation_headers(call: Call, operation: str, retry_after: str) -> dict[str, str]:
    path = f"/subscriptions/{call.subscription}/operationresults/{operation}"
    return {
        "Location": f"{call.base_url}{path}?api-version={call.api_version}",
        "Retry-After": retry_after,
    }


def list_providers(call: Call, subscription: str) -> Answer:
    found = groups.registrations(call.context)
    regions = groups.LOCATIONS.values()
    return Answer(200, arm.list_body(resources.provider(item, call.subscription, regions) for item in found))


def get_provider(call: Call, subscription: str, namespace: str) -> Answer:
    found = groups.registration(call.context, namespace)
    return Answer(200, resources.provider(found, call.subscription, groups.LOCATIONS.values()))


def register(call: Call, subscription: str, namespace: str) -> Answer:
    found = groups.register(call.context, namespace, "Registered")
    return Answer(200, resources.provider(found, call.subscription, groups.LOCATIONS.values()))


def unregister(call: Call, subscription: str, namespace: str) -> Answer:
    found = groups.register(call.context, namespace, "Unregistered")
    return Answer(200, resources.provider(found, call.subscription, groups.LOCATIONS.values()))
