"""Shared access signatures: strings to sign, verification and making (storage.md 4.3, 4.4).

Pure functions over the decoded query of a request. What a signature allows is returned as a Grant-like
value (`SasToken`); deciding about a request is authority.py's business.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from openbatchai.dataplane.sharedkey import signature
from openbatchai.domain.ports import ItemRef, StorageService

DOWNLOAD_VERSION = "2016-05-31"

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,7})?)?(?:Z|\+00:00))?", re.ASCII
)
_VERSION = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RESPONSE_FIELDS = ("rscc", "rscd", "rsce", "rscl", "rsct")
_FIELDS = (
    *("sp", "ss", "srt", "st", "se", "si", "sip", "spr", "sv", "ses", "sr", "snapshot"),
    *_RESPONSE_FIELDS,
)
RESPONSE_HEADERS = {
    "rscc": "cache-control",
    "rscd": "content-disposition",
    "rsce": "content-encoding",
    "rscl": "content-language",
    "rsct": "content-type",
}


@dataclass(frozen=True)
class StoredPolicy:
    """One entry of a container's access control list: what `si` refers to."""

    id: str
    start: str = ""
    expiry: str = ""
    permission: str = ""


def is_sas(query: Mapping[str, str]) -> bool:
    return "sig" in query


def is_account_sas(query: Mapping[str, str]) -> bool:
    return "ss" in query or "srt" in query


def is_well_formed(query: Mapping[str, str]) -> bool:
    """Whether the fields can be read in one way only.

    The lines of a string to sign carry no names and their number depends on `sv`, so a field that held a
    line break, or a version that is none, could make fields of one token stand for others.
    """
    protocols = query.get("spr", "").split(",")
    return (
        _VERSION.fullmatch(query.get("sv", "")) is not None
        and not any("\n" in query.get(name, "") for name in _FIELDS)
        and (protocols == [""] or set(protocols) <= {"https", "http"})
    )


def account_string(account: str, query: Mapping[str, str]) -> str:
    """The string to sign of an account SAS: every line ended, the last one too."""
    names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"]
    if query.get("sv", "") >= "2020-12-06":
        names.append("ses")
    return "\n".join([account, *(query.get(name, "") for name in names)]) + "\n"


def service_string(service: StorageService, resource: str, query: Mapping[str, str]) -> str:
    """The string to sign of a service SAS for the decoded, host-style `resource`."""
    version = query.get("sv", "")
    head = ["sp", "st", "se"]
    if service is StorageService.BLOB and version < "2015-04-05":
        tail = ["si", "sv", *_RESPONSE_FIELDS]
    else:
        tail = ["si", "sip", "spr", "sv"]
        if service is StorageService.BLOB and version >= "2018-11-09":
            tail += ["sr", "snapshot"]
        if service is StorageService.BLOB and version >= "2020-12-06":
            tail += ["ses"]
        tail += _RESPONSE_FIELDS
    lines = [query.get(name, "") for name in head] + [resource] + [query.get(name, "") for name in tail]
    return "\n".join(lines)


def canonical_resource(ref: ItemRef, query: Mapping[str, str]) -> str:
    """What the token covers: the whole container for `sr=c|s`, else the very item that is asked for."""
    whole = query.get("sr") in ("c", "s")
    prefix = f"/{ref.service}" if query.get("sv", "") >= "2015-02-21" else ""
    path = "" if whole or not ref.path else f"/{ref.path}"
    return f"{prefix}/{ref.account}/{ref.container}{path}"


def parse_time(text: str) -> datetime | None:
    """A SAS time (date, minutes, seconds or fractions) as UTC, or None when it is malformed."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def ip_allowed(rule: str, client: str) -> bool:
    """Whether `client` is the address `a` or within `a-b` of a `sip` value."""
    first, _, last = rule.partition("-")
    try:
        address, low, high = (ipaddress.ip_address(text) for text in (client, first, last or first))
    except ValueError:
        return False
    return address.version == low.version == high.version and int(low) <= int(address) <= int(high)


def read_token(ref: ItemRef, key: bytes, expiry: datetime) -> str:
    """The query of a read-only SAS for one item, as the real service's download URLs carry it."""
    fields = {
        "sv": DOWNLOAD_VERSION,
        "sr": "b" if ref.service is StorageService.BLOB else "f",
        "se": expiry.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sp": "rl",
    }
    text = service_string(ref.service, canonical_resource(ref, fields), fields)
    ordered = {
        "sv": fields["sv"],
        "sr": fields["sr"],
        "sig": signature(key, text),
        "se": fields["se"],
        "sp": fields["sp"],
    }
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in ordered.items())
