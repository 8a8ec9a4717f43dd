"""The bodies of Get User Delegation Key."""

from dataclasses import dataclass
from typing import Protocol

from openbatchai.wire.storage_xml import DECLARATION, element, optional, parse


@dataclass(frozen=True)
class KeyInfo:
    """What is asked for, as text: missing elements are empty."""

    start: str
    expiry: str
    delegated_tenant: str


def parse_key_info(body: bytes) -> KeyInfo:
    """Raises MalformedXmlError."""
    root = parse(body, "KeyInfo")
    names = ("Start", "Expiry", "DelegatedUserTid")
    return KeyInfo(*((root.findtext(name) or "").strip() for name in names))


class KeyFields(Protocol):
    """What the answer tells about a key; times are ISO 8601."""

    @property
    def object_id(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...
    @property
    def start(self) -> str: ...
    @property
    def expiry(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def delegated_tenant(self) -> str: ...


def key_document(key: KeyFields, value: str) -> bytes:
    body = (
        element("SignedOid", key.object_id)
        + element("SignedTid", key.tenant_id)
        + element("SignedStart", key.start)
        + element("SignedExpiry", key.expiry)
        + element("SignedService", key.service)
        + element("SignedVersion", key.version)
        + optional("SignedDelegatedUserTid", key.delegated_tenant)
        + element("Value", value)
    )
    return f"{DECLARATION}<UserDelegationKey>{body}</UserDelegationKey>".encode()
