"""Shared access signatures: strings to sign, checks of form, and making (storage.md 4.3 to 4.5).

Pure functions over the decoded query of a request; deciding about a request is authority.py's business.

The lines of a string to sign carry no names, and their number depends on `sv`. So a token means one thing
only if no field holds a line break and each version has one layout; `malformation` sees to that before any
signature is compared. Some fields are not signed by every version (`sr`, `sdd`, `srh`): what they say must
never widen what the signed lines grant, which is noted where each is read.
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

_RESPONSE_OVERRIDES_SINCE = "2013-08-15"
_FILES_SINCE = "2015-02-21"
_ADDRESS_AND_PROTOCOL_SINCE = "2015-04-05"
_RESOURCE_LINE_SINCE = "2018-11-09"
_DIRECTORIES_SINCE = "2020-02-10"
_ENCRYPTION_SCOPE_SINCE = "2020-12-06"
_DELEGATED_USER_SINCE = "2025-07-05"

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,7})?)?(?:Z|\+00:00))?", re.ASCII
)
_VERSION = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LETTERS = re.compile(r"[a-z]*", re.ASCII)
_DEPTH = re.compile(r"\d{1,4}", re.ASCII)
_RESPONSE_FIELDS = ("rscc", "rscd", "rsce", "rscl", "rsct")
_KEY_FIELDS = ("skoid", "sktid", "skt", "ske", "sks", "skv")
_AGENT_FIELDS = ("saoid", "suoid", "scid")
_DELEGATED_FIELDS = ("skdutid", "sduoid")
_FIELDS = (
    *("sp", "ss", "srt", "st", "se", "si", "sip", "spr", "sv", "ses", "sr", "sdd", "snapshot", "versionid"),
    *("srh", "srq", *_KEY_FIELDS, *_AGENT_FIELDS, *_DELEGATED_FIELDS, *_RESPONSE_FIELDS),
)
_RESOURCES = {
    StorageService.BLOB: frozenset({"b", "bs", "bv", "c", "d"}),
    StorageService.FILE: frozenset({"f", "s"}),
}
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


def is_delegated(query: Mapping[str, str]) -> bool:
    """Whether a user delegation key signed the token."""
    return "skoid" in query


def covers_container(query: Mapping[str, str]) -> bool:
    return query.get("sr") in ("c", "s")


def is_pinned(query: Mapping[str, str]) -> bool:
    """Whether the token is for one snapshot or version, not for what it was taken of."""
    return query.get("sr") in ("bs", "bv")


def malformation(service: StorageService, query: Mapping[str, str]) -> str | None:
    """Why the fields cannot be read in one way only; None when they can."""
    version = query.get("sv", "")
    if _VERSION.fullmatch(version) is None:
        return "sv is not in the correct format or is missing."
    for name in _FIELDS:
        if "\n" in query.get(name, ""):
            return f"{name} is not in the correct format."
    protocols = query.get("spr", "").split(",")
    if protocols != [""] and not set(protocols) <= {"https", "http"}:
        return "spr is not in the correct format."
    if _LETTERS.fullmatch(query.get("sp", "")) is None:
        return "sp is not in the correct format."
    if is_account_sas(query):
        return _account_malformation(query, version)
    return _service_malformation(service, query, version)


def _account_malformation(query: Mapping[str, str], version: str) -> str | None:
    if version < _ADDRESS_AND_PROTOCOL_SINCE:
        return "sv is older than account signatures are."
    for name, letters in (("ss", "bfqt"), ("srt", "sco")):
        value = query.get(name, "")
        if not value or not set(value) <= set(letters):
            return f"{name} is not in the correct format or is missing."
    return None


def _service_malformation(service: StorageService, query: Mapping[str, str], version: str) -> str | None:
    resource = query.get("sr", "")
    if resource not in _RESOURCES[service]:
        return "sr is mandatory. Cannot be empty." if not resource else "sr is not valid for this service."
    since = ""
    if service is StorageService.FILE:
        since = _DELEGATED_USER_SINCE if is_delegated(query) else _FILES_SINCE
    elif resource in ("bs", "bv") or is_delegated(query):
        since = _RESOURCE_LINE_SINCE
    if resource == "d":
        # Older versions do not sign `sr`: a token for one blob would turn into one for all below its name.
        since = _DIRECTORIES_SINCE
    if version < since:
        return "sv is older than what the token names."
    if resource == "d" and _DEPTH.fullmatch(query.get("sdd", "")) is None:
        return "Signed Directory Depth Invalid"
    if is_delegated(query) and query.get("si"):
        return "si is not allowed in a user delegation signature."
    return None


def account_string(account: str, query: Mapping[str, str]) -> str:
    """The string to sign of an account SAS: every line ended, the last one too."""
    names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"]
    if query.get("sv", "") >= _ENCRYPTION_SCOPE_SINCE:
        names.append("ses")
    return "\n".join([account, *(query.get(name, "") for name in names)]) + "\n"


def service_string(service: StorageService, resource: str, query: Mapping[str, str]) -> str:
    """The string to sign of a service SAS for the decoded, host-style `resource`."""
    head, tail = _parts(service, resource, query, ["si"])
    return "\n".join([*head, *tail, *_values(query, _overrides(query))])


def delegation_strings(
    service: StorageService, resource: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[str, ...]:
    """The accepted strings to sign of a user delegation SAS; the first is that of the newest clients.

    Clients of 2025-07-05 and later write the request headers and parameters that `srh` and `srq` name
    as further lines, two empty ones when there are none; some of them leave those two out. Which of the
    two layouts a text has follows from its number of lines.
    """
    version = query.get("sv", "")
    keys = list(_KEY_FIELDS)
    if service is StorageService.BLOB and version >= _DIRECTORIES_SINCE:
        keys += _AGENT_FIELDS
    if version >= _DELEGATED_USER_SINCE:
        keys += _DELEGATED_FIELDS
    head, tail = _parts(service, resource, query, keys)
    overrides = _values(query, _overrides(query))
    plain = "\n".join([*head, *tail, *overrides])
    if service is StorageService.FILE or version < _DELEGATED_USER_SINCE:
        return (plain,)
    demanded = _demanded_lines(query, headers)
    if demanded is None:
        return ()
    full = "\n".join([*head, *tail, *demanded, *overrides])
    return (full,) if query.get("srh") or query.get("srq") else (full, plain)


def _parts(
    service: StorageService, resource: str, query: Mapping[str, str], signer: list[str]
) -> tuple[list[str], list[str]]:
    """The lines up to and after the resource, without the response headers."""
    version = query.get("sv", "")
    names = [*signer]
    if version >= _ADDRESS_AND_PROTOCOL_SINCE:
        names += ["sip", "spr"]
    lines = _values(query, [*names, "sv"])
    if service is StorageService.BLOB and version >= _RESOURCE_LINE_SINCE:
        lines += [query.get("sr", ""), _instant(query)]
        if version >= _ENCRYPTION_SCOPE_SINCE:
            lines.append(query.get("ses", ""))
    return [*_values(query, ["sp", "st", "se"]), resource], lines


def _instant(query: Mapping[str, str]) -> str:
    """The snapshot or version that is asked for: part of what a token for one blob grants. A token for a
    container or directory grants all there is in it."""
    if query.get("sr") in ("c", "d"):
        return ""
    return query.get("snapshot", "") or query.get("versionid", "")


def _overrides(query: Mapping[str, str]) -> tuple[str, ...]:
    return _RESPONSE_FIELDS if query.get("sv", "") >= _RESPONSE_OVERRIDES_SINCE else ()


def _values(query: Mapping[str, str], names: list[str] | tuple[str, ...]) -> list[str]:
    return [query.get(name, "") for name in names]


def _demanded_lines(query: Mapping[str, str], headers: Mapping[str, str]) -> list[str] | None:
    """`name:value` of the request's own headers (`srh`) and parameters (`srq`), each group beside an empty
    line; None when the request lacks one of them or could pass for another."""
    lines: list[str] = []
    for name in _names(query, "srh"):
        value = headers.get(name.lower())
        if not value or ":" in name:
            return None
        lines.append(f"{name}:{value}")
    lines += ["", ""]
    for name in _names(query, "srq"):
        value = query.get(name.lower())
        if not value or ":" in name or "\n" in value:
            return None
        lines.append(f"{name}:{value}")
    return lines


def _names(query: Mapping[str, str], field: str) -> list[str]:
    return [name for name in query.get(field, "").split(",") if name]


def canonical_resources(ref: ItemRef, query: Mapping[str, str]) -> tuple[str, ...]:
    """What the token covers, in every spelling that clients sign: the whole container for `sr=c|s`, the
    first `sdd` parts of the path for `sr=d`, else the very item that is asked for. Empty when the request
    is not inside the token's directory."""
    prefix = f"/{ref.service}" if query.get("sv", "") >= _FILES_SINCE else ""
    container = f"{prefix}/{ref.account}/{ref.container}"
    if covers_container(query):
        return (container,)
    if query.get("sr") == "d":
        return _directory_resources(container, ref.path, int(query["sdd"]))
    if not ref.path:
        return (container,)
    if ref.service is StorageService.BLOB:
        return (f"{container}/{ref.path}",)
    # The 2017 generation signs an empty directory name, or one with a slash at its end, as it is given.
    parent, _, name = f"/{ref.path}".rpartition("/")
    return (f"{container}/{ref.path}", f"{container}{parent}//{name}")


def _directory_resources(container: str, path: str, depth: int) -> tuple[str, ...]:
    if depth == 0:
        return (container, f"{container}/")
    parts = path.split("/")
    if not path or len(parts) < depth:
        return ()
    return (f"{container}/{'/'.join(parts[:depth])}",)


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
        address, low, high = (_address(text) for text in (client, first, last or first))
    except ValueError:
        return False
    return address.version == low.version == high.version and int(low) <= int(address) <= int(high)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text)
    # A socket that takes both families shows IPv4 clients so.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def account_token(account: str, key: bytes, fields: Mapping[str, str]) -> str:
    """The query of an account SAS of the given fields."""
    return _token(fields, signature(key, account_string(account, fields)))


def service_token(service: StorageService, resource: str, key: bytes, fields: Mapping[str, str]) -> str:
    """The query of a service SAS; `resource` is canonical, as canonical_resources() gives it."""
    return _token(fields, signature(key, service_string(service, resource, fields)))


def _token(fields: Mapping[str, str], signed: str) -> str:
    pairs = [*fields.items(), ("sig", signed)]
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs if value)


def read_token(ref: ItemRef, key: bytes, expiry: datetime) -> str:
    """The query of a read-only SAS for one item, as the real service's download URLs carry it."""
    fields = {
        "sv": DOWNLOAD_VERSION,
        "sr": "b" if ref.service is StorageService.BLOB else "f",
        "se": expiry.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sp": "rl",
    }
    text = service_string(ref.service, canonical_resources(ref, fields)[0], fields)
    ordered = {
        "sv": fields["sv"],
        "sr": fields["sr"],
        "sig": signature(key, text),
        "se": fields["se"],
        "sp": fields["sp"],
    }
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in ordered.items())
