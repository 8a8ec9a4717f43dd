"""What a storage account may be and become: SKUs by kind, conversions, and what it says of access to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Code, ServiceError
from .model import StorageAccount
from .ports import AccountRules

Json = dict[str, Any]

_LOCAL = ("Standard_LRS", "Standard_GRS", "Standard_RAGRS")
_ZONED = ("Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS")
_PREMIUM = ("Premium_LRS", "Premium_ZRS")
_PROVISIONED = ("StandardV2_LRS", "StandardV2_GRS", "StandardV2_ZRS", "StandardV2_GZRS")
_PROVISIONED_PREMIUM = ("PremiumV2_LRS", "PremiumV2_ZRS")
# The SKUs that an account of a kind may have.
SKUS: Mapping[str, tuple[str, ...]] = {
    "Storage": (*_LOCAL, "Standard_ZRS", "Premium_LRS"),
    "StorageV2": (*_LOCAL, *_ZONED, "Premium_LRS"),
    "BlobStorage": _LOCAL,
    "BlockBlobStorage": _PREMIUM,
    "FileStorage": (*_PREMIUM, *_PROVISIONED, *_PROVISIONED_PREMIUM),
}
KINDS = tuple(SKUS)
# The api-versions that brought a kind or SKU; older clients have no word for it.
_SINCE = {
    "StorageV2": "2017-10-01",
    "BlockBlobStorage": "2018-07-01",
    "FileStorage": "2018-07-01",
    "Premium_ZRS": "2018-07-01",
    "Standard_GZRS": "2019-04-01",
    "Standard_RAGZRS": "2019-04-01",
    **dict.fromkeys((*_PROVISIONED, *_PROVISIONED_PREMIUM), "2024-01-01"),
}
DEFAULT_KIND = "Storage"
# The one change of an account's kind that there is.
_UPGRADABLE = ("Storage", "BlobStorage")
_UPGRADED = "StorageV2"

# Kept among an account's properties, but no client's business: when keys were renewed, by their names, and
# the generation of user delegation keys.
KEYS_CREATED = "keysCreated"
DELEGATION_GENERATION = "delegationGeneration"
INTERNAL = (KEYS_CREATED, DELEGATION_GENERATION)

# Beyond what anybody will meet on a machine of his own; a home's configuration may lower it.
USAGE = "StorageAccounts"
_DEFAULT_LIMIT = 1_000_000


@dataclass(frozen=True)
class AccountRequest:
    """What a PUT or PATCH of an account asks for; None is what it does not speak of.

    `properties` holds, by their names at ARM, what has a value; what a client clears is None there.
    """

    location: str | None
    kind: str | None
    sku: str | None
    tags: dict[str, str] | None
    properties: Json


def limit(quotas: Mapping[str, int]) -> int:
    return quotas.get(USAGE, _DEFAULT_LIMIT)


def offered(version: str) -> list[tuple[str, str]]:
    """Kinds and their SKUs that clients of an api-version know."""
    return [
        (kind, sku)
        for kind, skus in SKUS.items()
        for sku in skus
        if version >= max(_SINCE.get(kind, ""), _SINCE.get(sku, ""))
    ]


def tier(sku: str) -> str:
    return "Premium" if sku.startswith("Premium") else "Standard"


def is_readable_elsewhere(sku: str) -> bool:
    """Whether the SKU has the second, read-only endpoint."""
    return "_RA" in sku


def rules_of(account: StorageAccount) -> AccountRules:
    """What the account says of access to it, as the data plane keeps to it. What nobody set is as it was
    for accounts of 2018: http, keys and public containers are allowed."""
    said = account.properties
    return AccountRules(
        https_only=said.get("supportsHttpsTrafficOnly", False),
        shared_key=said.get("allowSharedKeyAccess", True),
        public_access=said.get("allowBlobPublicAccess", True),
        default_tier=said.get("accessTier", "Hot"),
        delegation_generation=said.get(DELEGATION_GENERATION, ""),
    )


def refused(field: str, *allowed: str) -> ServiceError:
    """400 in the words of this provider, which name the field."""
    return ServiceError(
        400,
        Code.INVALID_VALUES,
        f"Values for request parameters are invalid: {field}."
        + (f" Allowed values are {', '.join(allowed)}." if allowed else ""),
        target=field,
    )


def not_supported(what: str) -> ServiceError:
    return ServiceError(400, Code.FEATURE_NOT_SUPPORTED, f"{what} is not supported for the account.")


def check_sku(kind: str, sku: str) -> None:
    """Raises 400 InvalidAccountType unless accounts of the kind have it."""
    if sku not in SKUS[kind]:
        raise ServiceError(
            400,
            Code.INVALID_ACCOUNT_TYPE,
            f"The account type {sku} is not valid for an account of kind {kind}. "
            f"Allowed values are {', '.join(SKUS[kind])}.",
            target="sku.name",
        )


def apply(account: StorageAccount, wanted: AccountRequest) -> None:
    """Change an account as far as accounts can change. Raises 400, and changes nothing then."""
    kind, sku = _next_kind(account, wanted.kind), wanted.sku or account.sku
    check_sku(kind, sku)
    if _family(sku) != _family(account.sku):
        raise ServiceError(
            400,
            Code.ACCOUNT_TYPE_CONVERSION,
            f"Storage account type {account.sku} cannot be changed to {sku}.",
            target="sku.name",
        )
    account.kind, account.sku = kind, sku
    if wanted.tags is not None:
        account.tags = wanted.tags
    account.properties = merged(account.properties, wanted.properties)


def merged(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    together = {**kept, **wanted}
    return {name: value for name, value in together.items() if value is not None}


def _next_kind(account: StorageAccount, wanted: str | None) -> str:
    if wanted in (None, account.kind):
        return account.kind
    if wanted == _UPGRADED and account.kind in _UPGRADABLE:
        return _UPGRADED
    raise ServiceError(
        400,
        Code.ACCOUNT_PROPERTY_FIXED,
        "The property 'kind' was specified in the input, but it cannot be updated.",
        target="kind",
    )


def _family(sku: str) -> str:
    return sku.partition("_")[0]
