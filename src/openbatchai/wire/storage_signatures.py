"""What listAccountSas and listServiceSas of an account ask for, as the fields of the tokens they are answered
with (storage.md 4.3, 4.4)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openbatchai.domain.ports import StorageService
from openbatchai.domain.storage_accounts import refused

from .arm import parsed_instant

# The version of the tokens, as the real provider makes them: the oldest that knows every field.
VERSION = "2015-04-05"

_KEYS = ("key1", "key2")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?")
_RESOURCE = re.compile(r"/(?P<service>blob|file)/(?P<account>[^/]+)/(?P<container>[^/]+)(?P<path>/.+)?")
_CONTAINERS = {StorageService.BLOB: ("c", "b"), StorageService.FILE: ("s", "f")}
_OVERRIDES = ("rscc", "rscd", "rsce", "rscl", "rsct")


@dataclass(frozen=True)
class SignatureRequest:
    """`fields` are those of the token but its signature, in the order in which they are written."""

    key_name: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class ServiceSignatureRequest(SignatureRequest):
    """`resource` is canonical: what the service signs."""

    service: StorageService
    resource: str


def account_signature(body: Any) -> SignatureRequest:
    """Raises 400 naming the field."""
    given = _object(body)
    fields = {
        "sv": VERSION,
        "ss": _letters(given, "signedServices", "bfqt"),
        "srt": _letters(given, "signedResourceTypes", "sco"),
        "sp": _letters(given, "signedPermission", "rwdlacuptfxyi"),
        "st": _time(given, "signedStart"),
        "se": _time(given, "signedExpiry", needed=True),
        "sip": _text(given, "signedIp"),
        "spr": _protocol(given),
    }
    return SignatureRequest(_key(given), fields)


def service_signature(body: Any, account: str) -> ServiceSignatureRequest:
    """Raises 400 naming the field."""
    given = _object(body)
    resource = _text(given, "canonicalizedResource")
    found = _RESOURCE.fullmatch(resource)
    if found is None or found["account"] != account:
        raise refused("canonicalizedResource")
    service = StorageService(found["service"])
    of_container, of_item = _CONTAINERS[service]
    kind = _text(given, "signedResource") or (of_item if found["path"] else of_container)
    if kind != (of_item if found["path"] else of_container):
        raise refused("signedResource", *_CONTAINERS[service])
    policy = _text(given, "signedIdentifier")
    fields = {
        "sv": VERSION,
        "sr": kind,
        "si": policy,
        "sp": _letters(given, "signedPermission", "rwdlac", needed=not policy),
        "st": _time(given, "signedStart"),
        "se": _time(given, "signedExpiry", needed=not policy),
        "sip": _text(given, "signedIp"),
        "spr": _protocol(given),
        **{name: _text(given, name) for name in _OVERRIDES},
    }
    return ServiceSignatureRequest(_key(given), fields, service, resource)


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise refused("parameters")
    return body


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or "\n" in value:
        raise refused(name)
    return value


def _letters(given: Mapping[str, Any], name: str, allowed: str, *, needed: bool = True) -> str:
    value = _text(given, name)
    if not set(value) <= set(allowed) or (needed and not value):
        raise refused(name, *allowed)
    return value


def _time(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    text = _text(given, name)
    if not text:
        if needed:
            raise refused(name)
        return ""
    if _TIME.fullmatch(text) is None:
        raise refused(name)
    try:
        moment = parsed_instant(text)
    except ValueError:
        raise refused(name) from None
    return f"{moment.isoformat()[:19]}Z"


def _protocol(given: Mapping[str, Any]) -> str:
    value = _text(given, "signedProtocol")
    if value not in ("", "https", "https,http"):
        raise refused("signedProtocol", "https", "https,http")
    return value


def _key(given: Mapping[str, Any]) -> str:
    name = _text(given, "keyToSign") or _KEYS[0]
    if name not in _KEYS:
        raise refused("keyToSign", *_KEYS)
    return name
