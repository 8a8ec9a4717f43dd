"""Microsoft.Resources on the wire: groups, subscriptions, locations, providers (clients.md section 5)."""

from collections.abc import Iterable, Mapping
from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.model import Registration, ResourceGroup

from .batchai.versions import VERSIONS

Json = dict[str, Any]


def group_request(body: Any) -> tuple[str, dict[str, str]]:
    """Location and tags. Raises 400 naming what is missing."""
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    location = ids.check_location(body.get("location"))
    return location, tags_of(body)


def tags_of(body: Any) -> dict[str, str]:
    tags = (body.get("tags") if isinstance(body, dict) else None) or {}
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise invalid_property("tags", "The value of property 'tags' must be an object of strings.")
    return tags


def group(record: ResourceGroup, subscription: str) -> Json:
    return {
        "id": ids.group_id(subscription, record.name),
        "name": record.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": record.location,
        "tags": record.tags,
        "properties": {"provisioningState": "Deleting" if record.deleting else "Succeeded"},
    }


def subscription(subscription_id: str, tenant: str) -> Json:
    return {
        "id": f"/subscriptions/{subscription_id}",
        "authorizationSource": "RoleBased",
        "subscriptionId": subscription_id,
        "tenantId": tenant,
        "displayName": "OpenBatchAI",
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def tenant(tenant_id: str) -> Json:
    return {"id": f"/tenants/{tenant_id}", "tenantId": tenant_id, "displayName": "OpenBatchAI"}


def locations(names: Mapping[str, str], subscription_id: str) -> list[Json]:
    return [
        {
            "id": f"/subscriptions/{subscription_id}/locations/{name}",
            "name": name,
            "displayName": display,
            "regionalDisplayName": display,
            "type": "Region",
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        for name, display in names.items()
    ]


_BATCHAI_TYPES = (
    ("operations", tuple(VERSIONS)),
    ("locations", tuple(VERSIONS)),
    ("locations/operationresults", tuple(VERSIONS)),
    ("locations/operationstatuses", tuple(VERSIONS)),
    ("locations/usages", ("2018-05-01", "2018-03-01")),
    ("workspaces", ("2018-05-01",)),
    ("workspaces/clusters", ("2018-05-01",)),
    ("workspaces/experiments", ("2018-05-01",)),
    ("workspaces/experiments/jobs", ("2018-05-01",)),
    ("clusters", ("2018-03-01", "2017-09-01-preview")),
    ("jobs", ("2018-03-01", "2017-09-01-preview")),
)
_TYPES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "Microsoft.BatchAI": _BATCHAI_TYPES,
    "Microsoft.Batch": (("batchAccounts", ("2017-09-01",)),),
    "Microsoft.Storage": (("storageAccounts", ("2018-07-01", "2018-03-01-preview", "2016-12-01")),),
    "Microsoft.Resources": (("resourceGroups", ("2018-05-01",)), ("subscriptions", ("2018-05-01",))),
}


def provider(record: Registration, subscription_id: str, regions: Iterable[str]) -> Json:
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{record.namespace}",
        "namespace": record.namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": record.state,
        "resourceTypes": [
            {"resourceType": name, "locations": list(regions), "apiVersions": list(versions)}
            for name, versions in _TYPES[record.namespace]
        ],
    }
