"""Microsoft.Storage accounts at ARM (clients.md section 6). Any api-version gets the same shape, but that of
2015-06-15, which had one property for the SKU and no names for keys."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from openbatchai.domain import ids, storage_accounts
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.quotas import Usage
from openbatchai.domain.storage_accounts import AccountRequest, not_supported, refused

from . import storage_account_properties
from .arm import instant
from .resources import tags_of

Json = dict[str, Any]

OLDEST = "2015-06-15"
_SKUS = {sku.lower(): sku for skus in storage_accounts.SKUS.values() for sku in skus}
_KINDS = {kind.lower(): kind for kind in storage_accounts.KINDS}
_WITH_TIER = ("BlobStorage", "StorageV2")
# What the account is shown with where nobody set anything. Of TLS no version below 1.2 is spoken here.
_DEFAULTS = {
    "allowBlobPublicAccess": True,
    "minimumTlsVersion": "TLS1_2",
    "supportsHttpsTrafficOnly": False,
}
_NETWORK_DEFAULTS = {
    "bypass": "AzureServices",
    "virtualNetworkRules": [],
    "ipRules": [],
    "defaultAction": "Allow",
}


def put_request(body: Any, version: str) -> AccountRequest:
    """What a PUT asks for. Raises 400 naming the property."""
    wanted = _request(body, version)
    location = ids.check_location(wanted.location, "Microsoft.Storage/storageAccounts")
    if wanted.sku is None:
        raise refused("properties.accountType" if version == OLDEST else "sku.name")
    return AccountRequest(location, wanted.kind, wanted.sku, wanted.tags, wanted.properties)


def patch_request(body: Any, version: str) -> AccountRequest:
    """What a PATCH asks for. Raises 400 naming the property."""
    return _request(body, version)


def _request(body: Any, version: str) -> AccountRequest:
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    sku = body.get("sku")
    if sku is not None and not isinstance(sku, dict):
        raise refused("sku")
    name, field = (sku or {}).get("name"), "sku.name"
    properties = body.get("properties")
    if name is None and version == OLDEST and isinstance(properties, dict):
        name, field = properties.get("accountType"), "properties.accountType"
    _refuse_identity(body.get("identity"))
    return AccountRequest(
        body.get("location"),
        _known(_KINDS, body.get("kind"), "kind"),
        _sku(name, field),
        tags_of(body) if body.get("tags") is not None else None,
        storage_account_properties.read(properties),
    )


def _known(spelled: dict[str, str], value: Any, field: str) -> str | None:
    if value is None or value == "":
        return None
    found = spelled.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise refused(field, *spelled.values())
    return found


def _sku(name: Any, field: str) -> str | None:
    if name is None:
        return None
    found = _SKUS.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise ServiceError(
            400,
            Code.INVALID_ACCOUNT_TYPE,
            f"The account type {name} is invalid. Allowed values are {', '.join(_SKUS.values())}.",
            target=field,
        )
    return found


def _refuse_identity(identity: Any) -> None:
    if identity is None:
        return
    if not isinstance(identity, dict):
        raise refused("identity")
    if str(identity.get("type") or "None").lower() != "none":
        raise not_supported("A managed identity")


def account(record: StorageAccount, subscription: str, version: str, created: "KeyCreated") -> Json:
    """`created` tells when a key got its value."""
    said = {name: value for name, value in record.properties.items() if name not in storage_accounts.INTERNAL}
    properties: Json = {
        "provisioningState": "Succeeded",
        "creationTime": instant(record.created),
        "primaryLocation": record.location,
        "statusOfPrimary": "available",
        "primaryEndpoints": _endpoints(record.name),
        **_secondary(record),
        **({"accessTier": "Hot"} if record.kind in _WITH_TIER else {}),
        **_DEFAULTS,
        **said,
        "networkAcls": {**_NETWORK_DEFAULTS, **said.get("networkAcls", {})},
        **({"encryption": _encryption(said["encryption"])} if "encryption" in said else {}),
        "keyCreationTime": {name: instant(created(record, name)) for name in ("key1", "key2")},
    }
    if version == OLDEST:
        properties["accountType"] = record.sku
    return {
        "id": ids.storage_account_id(subscription, record.group_name, record.name),
        "name": record.name,
        "type": "Microsoft.Storage/storageAccounts",
        "location": record.location,
        "kind": record.kind,
        "sku": {"name": record.sku, "tier": storage_accounts.tier(record.sku)},
        "tags": record.tags,
        "properties": properties,
    }


KeyCreated = Callable[[StorageAccount, str], datetime]


def _encryption(said: Json) -> Json:
    return {"keySource": "Microsoft.Storage", **said}


def _endpoints(name: str) -> Json:
    return {
        service: f"https://{name}.{service}.core.windows.net/"
        for service in ("blob", "file", "queue", "table")
    }


def _secondary(record: StorageAccount) -> Json:
    if not storage_accounts.is_readable_elsewhere(record.sku):
        return {}
    return {
        "secondaryEndpoints": {"blob": f"https://{record.name}-secondary.blob.core.windows.net/"},
        "secondaryLocation": record.location,
        "statusOfSecondary": "available",
    }


def keys(record: StorageAccount, version: str, created: KeyCreated) -> Json:
    names = ("key1", "key2")
    if version == OLDEST:
        return {name: record.secrets[name] for name in names}
    return {
        "keys": [
            {
                "keyName": name,
                "value": record.secrets[name],
                "permissions": "FULL",
                "creationTime": instant(created(record, name)),
            }
            for name in names
        ]
    }


def key_name(body: Any) -> str:
    name = body.get("keyName") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refused("keyName")
    return name


def check_key_expansion(value: str) -> None:
    """`$expand` of listKeys: keys of Kerberos come beside the others, where there are any."""
    if value.lower() not in ("", "kerb"):
        raise refused("$expand", "kerb")


def name_request(body: Any) -> str:
    """The name that checkNameAvailability asks about. Raises 400 naming the property."""
    name = body.get("name") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refused("name")
    kind = body.get("type")
    if kind is not None and str(kind).lower() != "microsoft.storage/storageaccounts":
        raise refused("type", "Microsoft.Storage/storageAccounts")
    return name


def name_availability(problem: tuple[Code, str] | None) -> Json:
    if problem is None:
        return {"nameAvailable": True}
    code, message = problem
    reason = "AlreadyExists" if code is Code.STORAGE_ACCOUNT_ALREADY_TAKEN else "AccountNameInvalid"
    return {"nameAvailable": False, "reason": reason, "message": message}


def usage(found: Usage) -> Json:
    return {
        "unit": "Count",
        "currentValue": found.current,
        "limit": found.limit,
        "name": {"value": found.name, "localizedValue": "Storage Accounts"},
    }


def skus(locations: list[str], version: str) -> list[Json]:
    return [
        {
            "resourceType": "storageAccounts",
            "name": sku,
            "tier": storage_accounts.tier(sku),
            "kind": kind,
            "locations": [location],
            "capabilities": [],
            "restrictions": [],
        }
        for kind, sku in storage_accounts.offered(version)
        for location in locations
    ]
