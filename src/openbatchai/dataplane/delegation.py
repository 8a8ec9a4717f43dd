"""User delegation keys: what who holds a token of the authority signs SAS tokens with (storage.md 4.5).

A key is a function of a secret of the home and of its own fields, which every token signed with it repeats.
So nothing about keys is stored, and none can be made by who does not know the secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from openbatchai.dataplane import sas
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService

LONGEST = timedelta(days=7)
_SKEW = timedelta(minutes=15)
SERVICE_LETTERS = {StorageService.BLOB: "b", StorageService.FILE: "f"}


@dataclass(frozen=True)
class DelegationKey:
    """The public part of a key, as its fields stand in tokens; times are ISO 8601 in UTC."""

    object_id: str
    tenant_id: str
    start: str
    expiry: str
    service: str
    version: str
    delegated_tenant: str = ""

    @classmethod
    def of_token(cls, query: Mapping[str, str]) -> "DelegationKey":
        names = ("skoid", "sktid", "skt", "ske", "sks", "skv", "skdutid")
        return cls(*(query.get(name, "") for name in names))

    def value(self, secret: bytes, account: str, generation: str = "") -> str:
        """The key itself, base64 of 32 bytes; of use for this account only, and for no other generation of
        keys than the one in which it was made."""
        fields = (account, *vars(self).values(), *([generation] if generation else []))
        text = "".join(f"{len(field)}:{field}\n" for field in fields)
        return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def requested_window(start: str, expiry: str, now: datetime) -> tuple[str, str]:
    """The start and expiry of a new key, written as tokens carry them. `start` may be missing.

    Raises 400 for times that are none, are the wrong way round, lie in the past or more than seven days
    ahead.
    """
    begins, ends = (sas.parse_time(start) if start else now), sas.parse_time(expiry)
    if begins is None:
        raise _invalid("Start", start)
    if ends is None or ends <= max(begins, now) or ends > now + LONGEST + _SKEW:
        raise _invalid("Expiry", expiry)
    return _text(begins), _text(ends)


def _invalid(name: str, value: str) -> StorageError:
    detail = {"XmlNodeName": name, "XmlNodeValue": value}
    return StorageError(StorageCode.INVALID_XML_VALUE, detail=detail)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
