"""Microsoft.Resources on the wire: groups, subscriptions, locations, providers (clients.md section 5)."""

from collections.abc import Collection, Mapping
from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.model import Registration, ResourceGroup, Tracked
from openbatchai.domain.regions import REGIONS

from .arm import instant, without_none
from .batchai.versions import VERSIONS

Json = dict[str, Any]

# Of ARM, for groups and resources alike.
_TAG_LIMIT, _TAG_NAME_LIMIT, _TAG_VALUE_LIMIT = 50, 512, 256


def group_request(body: Any) -> tuple[str, dict[str, str]]:
    """Location and tags. Raises 400 naming what is missing."""
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    location = ids.check_location(body.get("location"))
    return location, tags_of(body)


def group_update(body: Any) -> dict[str, str] | None:
    """The tags of a PATCH; None when it does not mention them."""
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    return None if body.get("tags") is None else tags_of(body)


def tags_of(body: Any) -> dict[str, str]:
    tags = (body.get("tags") if isinstance(body, dict) else None) or {}
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise invalid_property("tags", "The value of property 'tags' must be an object of strings.")
    if len(tags) > _TAG_LIMIT or len({ids.fold(name) for name in tags}) != len(tags):
        raise invalid_property("tags", f"There may be {_TAG_LIMIT} tags, and no two of the same name.")
    if any(not name or len(name) > _TAG_NAME_LIMIT or len(tags[name]) > _TAG_VALUE_LIMIT for name in tags):
        raise invalid_property(
            "tags",
            f"A tag's name has 1 to {_TAG_NAME_LIMIT} characters, its value at most {_TAG_VALUE_LIMIT}.",
        )
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
    return {
        "id": f"/tenants/{tenant_id}",
        "tenantId": tenant_id,
        "displayName": "OpenBatchAI",
        "tenantCategory": "Home",
    }


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


# By namespace and resource type: the api-versions to offer. Microsoft.Storage and Microsoft.Resources take
# any; listed are those that clients of the last ten years ask for (clients.md section 0).
_FLAT = ("2018-03-01", "2017-09-01-preview")
_NEWEST = ("2018-05-01",)
_RESOURCES = ("2025-04-01", "2024-11-01", "2022-12-01", "2021-04-01", "2018-05-01", "2016-06-01")
_STORAGE = ("2025-08-01", "2024-01-01", "2021-09-01", "2019-06-01", "2018-07-01", "2017-10-01", "2016-12-01")
_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "Microsoft.Batch": {},
    "Microsoft.BatchAI": {
        "operations": tuple(VERSIONS),
        "locations": tuple(VERSIONS),
        "locations/operationresults": tuple(VERSIONS),
        "locations/operationstatuses": tuple(VERSIONS),
        "locations/usages": ("2018-05-01", "2018-03-01"),
        "workspaces": _NEWEST,
        "workspaces/clusters": _NEWEST,
        "workspaces/fileservers": _NEWEST,
        "workspaces/experiments": _NEWEST,
        "workspaces/experiments/jobs": _NEWEST,
        "clusters": _FLAT,
        "fileservers": _FLAT,
        "jobs": _FLAT,
    },
    "Microsoft.Resources": dict.fromkeys(
        ("tenants", "subscriptions", "subscriptions/locations", "providers", "resourceGroups", "resources"),
        _RESOURCES,
    ),
    "Microsoft.Storage": dict.fromkeys(
        (
            "operations",
            "checkNameAvailability",
            "skus",
            "usages",
            "locations",
            "locations/usages",
            "storageAccounts",
            "storageAccounts/blobServices",
            "storageAccounts/blobServices/containers",
            "storageAccounts/fileServices",
            "storageAccounts/fileServices/shares",
        ),
        _STORAGE,
    ),
}


def provider(record: Registration, subscription_id: str | None) -> Json:
    """`subscription_id` is None in the lists of the tenant, which know no state."""
    free = record.namespace == "Microsoft.Resources"
    return without_none(
        {
            "id": (f"/subscriptions/{subscription_id}" if subscription_id else "")
            + f"/providers/{record.namespace}",
            "namespace": record.namespace,
            "registrationPolicy": "RegistrationFree" if free else "RegistrationRequired",
            "registrationState": record.state if subscription_id else None,
            "resourceTypes": [
                {
                    "resourceType": name,
                    "locations": list(REGIONS.values()),
                    "apiVersions": list(versions),
                    "capabilities": "None",
                }
                for name, versions in _TYPES[record.namespace].items()
            ],
        }
    )


def generic(record: Tracked, subscription_id: str, expand: Collection[str]) -> Json:
    """An item of ARM's list of resources; `expand` are the words of `$expand`, in lower case."""
    root = f"{ids.group_id(subscription_id, record.group)}/providers/{record.type}/{record.name}"
    more = {
        "createdTime": instant(record.created),
        "changedTime": instant(record.changed),
        "provisioningState": "Deleting" if record.deleting else "Succeeded",
    }
    sku = {"name": record.sku, "tier": record.sku.partition("_")[0]} if record.sku else None
    return without_none(
        {
            "id": root,
            "name": record.name,
            "type": record.type,
            "kind": record.kind or None,
            "sku": sku,
            "location": ids.region(record.location),
            "tags": dict(record.tags) or None,
            **{name: value for name, value in more.items() if name.lower() in expand},
        }
    )


_EXPANSIONS = frozenset({"createdtime", "changedtime", "provisioningstate"})


def expansions(text: str) -> frozenset[str]:
    """The words of `$expand`. Raises 400 for others."""
    words = frozenset(word.strip().lower() for word in text.split(",") if word.strip())
    if not words <= _EXPANSIONS:
        raise ServiceError(
            400,
            Code.INVALID_PROPERTY_VALUE,
            f"The value '{text[:200]}' of query parameter '$expand' may name createdTime, changedTime and "
            "provisioningState.",
            target="$expand",
        )
    return words
