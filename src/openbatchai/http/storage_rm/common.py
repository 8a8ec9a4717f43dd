"""What calls about containers and shares have in common: where they lie, how the data plane's refusals are
told, pages, metadata and leases."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import Container
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.leases import Lease, LeaseAction, LeaseFacts, LeaseRequest, remaining_s
from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.domain.storage_accounts import refused
from openbatchai.http.calls import Answer, Call, Handler
from openbatchai.http.storage.disk import of_file_system
from openbatchai.http.storage.leases import lease_request
from openbatchai.http.storage.request import check_metadata, conditions_of
from openbatchai.services import accounts
from openbatchai.wire import arm

Json = dict[str, Any]

PAGE = 5000
_MOST_ASKED = 999_999_999
# What the data plane calls by a header is a field here.
_FIELDS = {
    "x-ms-lease-action": "action",
    "x-ms-lease-id": "leaseId",
    "x-ms-proposed-lease-id": "proposedLeaseId",
    "x-ms-lease-duration": "leaseDuration",
    "x-ms-lease-break-period": "breakPeriod",
    "x-ms-share-quota": "properties.shareQuota",
    "x-ms-access-tier": "properties.accessTier",
    "x-ms-enabled-protocols": "properties.enabledProtocols",
    "x-ms-root-squash": "properties.rootSquash",
}
_LEASE_HEADERS = (
    "x-ms-lease-action",
    "x-ms-lease-id",
    "x-ms-proposed-lease-id",
    "x-ms-lease-duration",
    "x-ms-lease-break-period",
)


def refusing(handler: Handler) -> Handler:
    """The handler, whose refusals by the data plane are told in ARM's form."""

    @functools.wraps(handler)
    def answer(*arguments: Any, **names: str) -> Answer:
        try:
            try:
                return handler(*arguments, **names)
            except OSError as failure:
                if (refusal := of_file_system(failure)) is None:
                    raise
                raise refusal from None
        except StorageError as error:
            named = error.detail.get("HeaderName", error.detail.get("XmlNodeName"))
            target = _FIELDS.get(named, named) if named else error.detail.get("QueryParameterName")
            code, message = error.code.code, error.message
            if error.detail.get("HeaderName") in _FIELDS:
                message = f"The value of '{target}' is not valid or is missing."
            raise ServiceError(error.code.status, code, message, target=target) from None

    return answer


def account_of(call: Call, group: str, account: str) -> StorageAccount:
    return accounts.get(call.context, group, account)


def ref_of(call: Call, group: str, account: str, service: StorageService, container: str) -> ItemRef:
    """Raises 404 for an account that is not there."""
    return ItemRef(service, account_of(call, group, account).key, container)


def service_id(call: Call, account: StorageAccount, service: StorageService) -> str:
    place = ids.storage_account_id(call.subscription, account.group_name, account.name)
    return f"{place}/{service}Services/default"


def body_of(call: Call) -> Json:
    """The request's object; an empty body is an empty one."""
    if not call.content.strip():
        return {}
    body = call.json()
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    return body


def properties_of(call: Call) -> Json:
    properties = body_of(call).get("properties")
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise refused("properties")
    return {name: value for name, value in properties.items() if value is not None}


def metadata_in(properties: Mapping[str, Any]) -> dict[str, str] | None:
    """Checked as the data plane checks headers; besides, what would break a header is none."""
    metadata = properties.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise refused("properties.metadata")
    for name, value in metadata.items():
        if not isinstance(value, str) or not value.isprintable():
            raise refused(f"properties.metadata.{name}")
    return check_metadata({name: value.strip() for name, value in metadata.items()})


def demands(call: Call) -> Conditions:
    """If-Match and what goes with it."""
    return conditions_of({name.lower(): value for name, value in call.headers.items()})


# --- lists


def page_request(call: Call) -> tuple[str, str, int]:
    """The prefix, the marker and the length of the page that is asked for."""
    prefix = call.query.get("$filter", "").strip()
    if prefix.lower().startswith("startswith(") and prefix.endswith(")"):
        prefix = prefix[:-1].partition(",")[2].strip().strip("'\"")
    limit = call.number("$maxpagesize", PAGE, 1, _MOST_ASKED)
    return prefix, call.query.get("$skiptoken", ""), min(limit, PAGE)


def page_answer(call: Call, items: Iterable[Json], marker: str) -> Answer:
    if not marker:
        return Answer(200, arm.list_body(items))
    kept = {name: value for name, value in call.query.items() if name != "$skiptoken"}
    query = urlencode(kept | {"$skipToken": marker}, safe="$", quote_via=quote)
    return Answer(200, arm.list_body(items, f"{call.base_url}{call.path}?{query}"))


# --- leases


def lease_in(call: Call) -> LeaseRequest:
    """The lease operation in the body, by the same rules as in a storage request's headers."""
    body, headers = body_of(call), dict[str, str]()
    for header in _LEASE_HEADERS:
        value = body.get(_FIELDS[header])
        if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
            raise refused(_FIELDS[header])
        if value is not None:
            headers[header] = str(value)
    return lease_request(headers)


def lease_answer(storage: Storage, request: LeaseRequest, lease: Lease | None) -> Answer:
    now_ns = int(storage.clock.now().timestamp() * 1_000_000) * 1_000
    left = remaining_s(lease, now_ns) if request.action is LeaseAction.BREAK else 0
    body: Json = {"leaseTimeSeconds": str(left)}
    if lease is not None and request.action is not LeaseAction.BREAK:
        body["leaseId"] = lease.id
    return Answer(200, body)


def lease_shown(lease: LeaseFacts) -> Json:
    shown = {"leaseStatus": lease.status.capitalize(), "leaseState": lease.state.capitalize()}
    return shown | ({"leaseDuration": lease.duration.capitalize()} if lease.duration else {})


def deletion_shown(found: Container) -> Json:
    if found.deletion is None:
        return {}
    return {
        "deleted": True,
        "version": found.deletion.version,
        "deletedTime": arm.instant(found.deletion.at),
        "remainingRetentionDays": found.deletion.days_left,
    }


def words(call: Call, parameter: str, *allowed: str) -> set[str]:
    """The words of a query parameter such as `$expand`. Raises 400 for others."""
    found = {word.strip().lower() for word in call.query.get(parameter, "").split(",")} - {""}
    if not found <= set(allowed):
        raise refused(parameter, *allowed)
    return found


def etag_headers(found: Container) -> dict[str, str]:
    return {"ETag": found.etag, "Last-Modified": arm.http_date(found.last_modified)}
