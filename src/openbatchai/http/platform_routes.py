"""What surrounds Batch AI at ARM: subscriptions, resource groups, storage accounts, lists of what is there.

Any api-version is served with the same shape (clients.md sections 0, 5, 6 and 9).
"""

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.regions import REGIONS
from openbatchai.services import accounts, groups, operations
from openbatchai.services import resources as tracked
from openbatchai.wire import arm, filters, resources, storage_rp

from .calls import Answer, Call, Route, Routes, page
from .own_routes import own_routes
from .provider_routes import provider_routes

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}"
# The most that ARM's own lists give at a time.
_PAGE = 1000
_STORAGE = "/providers/Microsoft.Storage"
_ACCOUNT = f"{_GROUP}{_STORAGE}/storageAccounts/{{account}}"


def routes() -> Routes:
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
            Route("POST", f"{_SUBSCRIPTION}{_STORAGE}/checkNameAvailability", check_name),
            Route("GET", f"{_SUBSCRIPTION}{_STORAGE}/storageAccounts", list_accounts),
            Route("GET", f"{_GROUP}{_STORAGE}/storageAccounts", list_accounts),
            Route("PUT", _ACCOUNT, put_account),
            Route("GET", _ACCOUNT, get_account),
            Route("DELETE", _ACCOUNT, delete_account),
            Route("POST", f"{_ACCOUNT}/listKeys", list_keys),
            Route("POST", f"{_ACCOUNT}/regenerateKey", regenerate_key),
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


def check_name(call: Call, subscription: str) -> Answer:
    body = call.json()
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise invalid_property("name", "The required property 'name' is missing.")
    return Answer(200, storage_rp.name_availability(accounts.name_problem(call.context, name)))


def put_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    location, kind, sku, tags = storage_rp.account_request(call.json())
    found = accounts.put(call.context, group, account, location, kind, sku, tags, call.actor)
    return Answer(200, storage_rp.account(found, call.subscription))


def get_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    return Answer(200, storage_rp.account(accounts.get(call.context, group, account), call.subscription))


def list_accounts(call: Call, subscription: str, group: str | None = None) -> Answer:
    found = accounts.listing(call.context, group)
    return Answer(200, arm.list_body(storage_rp.account(item, call.subscription) for item in found))


def delete_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    return Answer(200 if accounts.delete(call.context, group, account, call.actor) else 204)


def list_keys(call: Call, subscription: str, group: str, account: str) -> Answer:
    return Answer(200, storage_rp.keys(accounts.get(call.context, group, account)))


def regenerate_key(call: Call, subscription: str, group: str, account: str) -> Answer:
    body = call.json()
    name = body.get("keyName") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise invalid_property("keyName", "The required property 'keyName' is missing.")
    return Answer(200, storage_rp.keys(accounts.regenerate_key(call.context, group, account, name)))
