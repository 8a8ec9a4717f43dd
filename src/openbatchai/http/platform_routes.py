"""What surrounds Batch AI at ARM: subscriptions, resource groups, storage accounts, lists of what is there.

Any api-version is served with the same shape (clients.md sections 0, 5, 6 and 9).
"""

from openbatchai.dataplane import Storage
from openbatchai.domain.regions import REGIONS
from openbatchai.services import groups, operations
from openbatchai.services import resources as tracked
from openbatchai.wire import arm, filters, resources

from .calls import Answer, Call, Route, Routes, page
from .own_routes import own_routes
from .provider_routes import provider_routes
from .storage_rm.absent import absent_routes
from .storage_rm.accounts import account_routes
from .storage_rm.containers import ContainerRoutes
from .storage_rm.services import ServiceRoutes
from .storage_rm.shares import ShareRoutes

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"
# The most that ARM's own lists give at a time.
_PAGE = 1000


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
            Route("DELETE", _GROUP, delete_group),
            Route("GET", f"{_SUBSCRIPTION}/operationresults/{{operation}}", group_operation),
            Route("GET", f"{_SUBSCRIPTION}/resources", list_resources),
            Route("GET", f"{_GROUP}/resources", list_resources),
            *provider_routes(),
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
    return Answer(200, arm.list_body(resources.locations(REGIONS, call.subscription)))


def put_group(call: Call, subscription: str, group: str) -> Answer:
    location, tags = resources.group_request(call.json())
    found, created = groups.put(call.context, group, location, tags, call.actor)
    return Answer(201 if created else 200, resources.group(found, call.subscription))


def patch_group(call: Call, subscription: str, group: str) -> Answer:
    found = groups.patch(call.context, group, resources.group_update(call.json()))
    return Answer(200, resources.group(found, call.subscription))


def get_group(call: Call, subscription: str, group: str) -> Answer:
    return Answer(200, resources.group(groups.get(call.context, group), call.subscription))


def list_groups(call: Call, subscription: str) -> Answer:
    """By `$filter` on tags and names, `$top` a page."""
    wanted = filters.parse(call.query.get("$filter", ""))
    found = [
        resources.group(item, call.subscription)
        for item in groups.listing(call.context)
        if wanted.keeps(
            name=item.name,
            type_="Microsoft.Resources/resourceGroups",
            group=item.name,
            location=item.location,
            tags=item.tags,
        )
    ]
    return page(call, found, call.number("$top", _PAGE, 1, _PAGE))


def list_resources(call: Call, subscription: str, group: str | None = None) -> Answer:
    wanted = filters.parse(call.query.get("$filter", ""))
    expand = resources.expansions(call.query.get("$expand", ""))
    found = [
        resources.generic(item, call.subscription, expand)
        for item in tracked.listing(call.context, group)
        if wanted.keeps(
            name=item.name, type_=item.type, group=item.group, location=item.location, tags=item.tags
        )
    ]
    return page(call, found, call.number("$top", _PAGE, 1, _PAGE))


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
