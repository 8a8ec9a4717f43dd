"""The writable `properties` of a storage account: what each may hold, and those that this service has not.

Nobody has to know the newest property: unknown ones are ignored, as the real service did. One that is known
and cannot be had is refused, so that no client believes in what is not there.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.storage_accounts import not_supported, refused

Json = dict[str, Any]
# Gives the value to keep. Raises ServiceError naming the field.
_Reader = Callable[[str, Any], Any]

_MOST_RULES = 400
_DAYS = 365 * 27


def read(properties: Any) -> Json:
    """What is asked for, by name; None where a client clears something. Raises 400 and 409."""
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise refused("properties")
    given = {name: value for name, value in properties.items() if name in _READERS and value is not None}
    return {name: _READERS[name](name, value) for name, value in given.items()}


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refused(name)
    return value


def _without(what: str) -> _Reader:
    """A switch that can only be off."""

    def reader(name: str, value: Any) -> bool:
        if _flag(name, value):
            raise not_supported(what)
        return False

    return reader


def _word(*allowed: str) -> _Reader:
    spelled = {word.lower(): word for word in allowed}

    def reader(name: str, value: Any) -> str:
        word = spelled.get(value.lower()) if isinstance(value, str) else None
        if word is None:
            raise refused(name, *allowed)
        return word

    return reader


def _only(what: str, *allowed: str) -> _Reader:
    """A choice of which only some are to be had here."""

    def reader(name: str, value: Any) -> str:
        if isinstance(value, str) and value.lower() not in [word.lower() for word in allowed]:
            raise not_supported(f"{what} {value}")
        return str(_word(*allowed)(name, value))

    return reader


def _fields(readers: Mapping[str, _Reader], *required: str) -> _Reader:
    def reader(name: str, value: Any) -> Json:
        given = _object(name, value)
        for needed in required:
            if given.get(needed) is None:
                raise refused(f"{name}.{needed}")
        known = {key: item for key, item in given.items() if key in readers and item is not None}
        return {key: readers[key](f"{name}.{key}", item) for key, item in known.items()}

    return reader


def _object(name: str, value: Any) -> Json:
    if not isinstance(value, dict):
        raise refused(name)
    return value


def _rules(rule: _Reader) -> _Reader:
    def reader(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > _MOST_RULES:
            raise refused(name)
        return [rule(f"{name}[{number}]", item) for number, item in enumerate(value)]

    return reader


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 2048:
        raise refused(name)
    return value


def _address(name: str, value: Any) -> str:
    try:
        ipaddress.ip_network(_text(name, value), strict=False)
    except ValueError:
        raise refused(name) from None
    return str(value)


def _number(low: int, high: int) -> _Reader:
    def reader(name: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise refused(name)
        return value

    return reader


def _bypass(name: str, value: Any) -> str:
    words = [word.strip() for word in _text(name, value).split(",")]
    return ", ".join(_word("None", "Logging", "Metrics", "AzureServices")(name, word) for word in words)


def _custom_domain(name: str, value: Any) -> Json | None:
    """A domain would have to lead to this machine by a CNAME, which nobody looks up here."""
    domain = _object(name, value).get("name")
    if not isinstance(domain, str):
        raise refused(f"{name}.name")
    if not domain:
        return None
    raise ServiceError(
        409,
        Code.DOMAIN_NAME_NOT_VERIFIED,
        f"The custom domain name could not be verified. CNAME mapping from {domain} to this account does not "
        "exist.",
        target=f"{name}.name",
    )


def _key_source(name: str, value: Any) -> str:
    if isinstance(value, str) and value.lower() == "microsoft.keyvault":
        raise not_supported("Encryption with a key of a vault")
    if not isinstance(value, str) or value.lower() != "microsoft.storage":
        raise ServiceError(
            400, Code.UNKNOWN_ENCRYPTION_KEY_SOURCE, f"The key source '{value}' is unknown.", target=name
        )
    return "Microsoft.Storage"


_encrypted_service = _fields({"enabled": _flag, "keyType": _word("Account", "Service")})
_rule_action = _word("Allow")
_READERS: Mapping[str, _Reader] = {
    **dict.fromkeys(
        (
            "allowBlobPublicAccess",
            "allowCrossTenantReplication",
            "allowSharedKeyAccess",
            "defaultToOAuthAuthentication",
            "supportsHttpsTrafficOnly",
            "isLocalUserEnabled",
        ),
        _flag,
    ),
    "isHnsEnabled": _without("A hierarchical namespace"),
    "isNfsV3Enabled": _without("NFS 3.0"),
    "isSftpEnabled": _without("SFTP"),
    "enableExtendedGroups": _without("Extended groups"),
    "accessTier": _word("Hot", "Cool", "Cold", "Premium"),
    "minimumTlsVersion": _word("TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"),
    "publicNetworkAccess": _word("Enabled", "Disabled", "SecuredByPerimeter"),
    "allowedCopyScope": _word("PrivateLink", "AAD", "All"),
    "largeFileSharesState": _word("Disabled", "Enabled"),
    "dnsEndpointType": _only("The DNS endpoint type", "Standard"),
    "customDomain": _custom_domain,
    "networkAcls": _fields(
        {
            "bypass": _bypass,
            "defaultAction": _word("Allow", "Deny"),
            "ipRules": _rules(_fields({"value": _address, "action": _rule_action}, "value")),
            "virtualNetworkRules": _rules(_fields({"id": _text, "action": _rule_action}, "id")),
            "resourceAccessRules": _rules(_fields({"tenantId": _text, "resourceId": _text})),
        }
    ),
    "sasPolicy": _fields(
        {"sasExpirationPeriod": _text, "expirationAction": _word("Log", "Block")}, "sasExpirationPeriod"
    ),
    "keyPolicy": _fields({"keyExpirationPeriodInDays": _number(0, _DAYS)}, "keyExpirationPeriodInDays"),
    "routingPreference": _fields(
        {
            "routingChoice": _word("MicrosoftRouting", "InternetRouting"),
            "publishMicrosoftEndpoints": _without("A routing-specific endpoint"),
            "publishInternetEndpoints": _without("A routing-specific endpoint"),
        }
    ),
    "encryption": _fields(
        {
            "services": _fields(
                dict.fromkeys(("blob", "file", "queue", "table"), _encrypted_service),
            ),
            "keySource": _key_source,
            "requireInfrastructureEncryption": _flag,
        }
    ),
    "azureFilesIdentityBasedAuthentication": _fields(
        {
            "directoryServiceOptions": _only("Authentication by", "None"),
            "defaultSharePermission": _only("A default share permission", "None"),
        },
        "directoryServiceOptions",
    ),
    "immutableStorageWithVersioning": _fields({"enabled": _without("Immutable storage with versioning")}),
}
