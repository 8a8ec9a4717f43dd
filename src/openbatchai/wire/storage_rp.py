"""Microsoft.Storage accounts at ARM (clients.md section 6). Any api-version gets the same shape."""

from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.model import StorageAccount

from .arm import instant
from .resources import tags_of

Json = dict[str, Any]

_KINDS = ("Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage")


def account_request(body: Any) -> tuple[str, str, str, dict[str, str]]:
    """Location, kind, SKU name and tags. Raises 400 naming the property."""
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    location = ids.check_location(body.get("location"), "Microsoft.Storage/storageAccounts")
    kind = body.get("kind") or "Storage"
    if kind not in _KINDS:
        raise invalid_property("kind", f"The value '{kind}' is not allowed.", *_KINDS)
    sku = body.get("sku") or {}
    name = sku.get("name") if isinstance(sku, dict) else None
    if not isinstance(name, str) or "_" not in name:
        raise invalid_property("sku.name", "The required property 'sku.name' is missing or not valid.")
    return location, kind, name, tags_of(body)


def account(record: StorageAccount, subscription: str) -> Json:
    endpoints = {
        service: f"https://{record.name}.{service}.core.windows.net/"
        for service in ("blob", "file", "queue", "table")
    }
    return {
        "id": ids.storage_account_id(subscription, record.group_name, record.name),
        "name": record.name,
        "type": "Microsoft.Storage/storageAccounts",
        "location": record.location,
        "kind": record.kind,
        "sku": {"name": record.sku, "tier": record.sku.split("_")[0]},
        "tags": record.tags,
        "properties": {
            "provisioningState": "Succeeded",
            "creationTime": instant(record.created),
            "primaryLocation": record.location,
            "statusOfPrimary": "available",
            "primaryEndpoints": endpoints,
            "supportsHttpsTrafficOnly": False,
        },
    }


def keys(record: StorageAccount) -> Json:
    return {
        "keys": [
            {"keyName": name, "value": record.secrets[name], "permissions": "FULL"}
            for name in ("key1", "key2")
        ]
    }


def name_availability(problem: tuple[Code, str] | None) -> Json:
    if problem is None:
        return {"nameAvailable": True}
    code, message = problem
    reason = "AlreadyExists" if code is Code.STORAGE_ACCOUNT_ALREADY_TAKEN else "AccountNameInvalid"
    return {"nameAvailable": False, "reason": reason, "message": message}
