"""XML and times that the Blob and Files services share (storage.md sections 2, 3, 5.2).

Documents are written as text: a listing has thousands of entries, and building a tree first costs more
than the disk does. Reading goes through defusedxml.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape, quoteattr

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\ufffe\uffff]")
# What text must not hold as it is.
_MARKED = re.compile(f"{_NOT_XML.pattern}|[&<>\r]")
_ELEMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_NS = 1_000_000_000
ENCODED_NAMES_SINCE = "2021-02-12"


class MalformedXmlError(ValueError):
    """A body that is no XML document, or not the one that the call takes."""


class ContentFacts(Protocol):
    @property
    def encoding(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def disposition(self) -> str: ...
    @property
    def cache_control(self) -> str: ...


class LeaseTold(Protocol):
    """A lease in the words of the wire; `duration` is empty unless there is an active lease."""

    @property
    def status(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def duration(self) -> str: ...


class ListedFacts(Protocol):
    """What a listing tells of an entry that is not simply what is there now."""

    @property
    def snapshot(self) -> str: ...
    @property
    def deleted_ns(self) -> int: ...
    @property
    def kept_days(self) -> int: ...


class ItemFacts(Protocol):
    """What headers and listings tell about a blob, file or directory."""

    @property
    def name(self) -> str: ...
    @property
    def is_directory(self) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def last_modified(self) -> datetime: ...
    @property
    def created_ns(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def ctime_ns(self) -> int: ...
    @property
    def ino(self) -> int: ...
    @property
    def parent_ino(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    @property
    def content(self) -> ContentFacts: ...
    @property
    def md5(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def blob_type(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def tier_changed_ns(self) -> int: ...
    @property
    def rehydrating_to(self) -> str: ...
    @property
    def rehydrate_priority(self) -> str: ...
    @property
    def append_blocks(self) -> int: ...
    @property
    def attributes(self) -> str: ...
    @property
    def permission_key(self) -> str: ...
    @property
    def changed_ns(self) -> int: ...
    @property
    def lease(self) -> LeaseTold: ...
    @property
    def listed(self) -> ListedFacts | None: ...
    @property
    def is_sealed(self) -> bool: ...
    @property
    def sequence_number(self) -> int: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def copy(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class ContainerEntry:
    """One share or container of a listing; `properties` are element names and their text. `version` is that
    of a deleted one."""

    name: str
    properties: Mapping[str, str]
    metadata: Mapping[str, str] | None = None
    snapshot: str = ""
    version: str = ""


@dataclass(frozen=True)
class ListRequest:
    """The parameters that a listing repeats in its answer; None when not given."""

    endpoint: str
    prefix: str | None = None
    marker: str | None = None
    max_results: str | None = None
    delimiter: str | None = None
    version: str = ""


@dataclass(frozen=True)
class Policy:
    """A signed identifier of an access control list."""

    id: str
    start: str = ""
    expiry: str = ""
    permission: str = ""


# --- times


@lru_cache(maxsize=4096)
@lru_cache(maxsize=4096)
def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def http_date_ns(ns: int) -> str:
    return _http_date_of(ns // _NS)


@lru_cache(maxsize=4096)
def _http_date_of(seconds: int) -> str:
    return http_date(datetime.fromtimestamp(seconds, tz=UTC))


def iso_ticks(ns: int) -> str:
    """ISO 8601 with the seven digits of a .NET tick, as SMB times are written."""
    moment = datetime.fromtimestamp(ns // _NS, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % _NS // 100:07d}Z"


def parse_http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- writing


def element(name: str, text: str | None) -> str:
    return f"<{name}>{clean(text)}</{name}>" if text else f"<{name} />"


def optional(name: str, text: str | None) -> str:
    return f"<{name}>{clean(text)}</{name}>" if text else ""


def name_element(name: str, version: str) -> str:
    """A name that XML cannot carry is percent-encoded for clients that know the attribute."""
    if not _MARKED.search(name):
        return f"<Name>{name}</Name>"
    if version >= ENCODED_NAMES_SINCE and _NOT_XML.search(name):
        return f'<Name Encoded="true">{quote(name, safe="/")}</Name>'
    return f"<Name>{clean(name)}</Name>"


def clean(text: str) -> str:
    if not _MARKED.search(text):
        return text
    # A reader takes a bare carriage return for the end of a line.
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})


def attribute(name: str, value: str) -> str:
    return f"{name}={quoteattr(_NOT_XML.sub(chr(0xFFFD), value))}"


@lru_cache(maxsize=1024)
def _is_element_name(name: str) -> bool:
    return _ELEMENT_NAME.fullmatch(name) is not None


def metadata_element(metadata: Mapping[str, str] | None) -> str:
    if metadata is None:
        return ""
    # A header name may hold what an element name may not; such a pair is only told by HEAD.
    pairs = [element(name, value) for name, value in metadata.items() if _is_element_name(name)]
    return f"<Metadata>{''.join(pairs)}</Metadata>"


def lease_headers(lease: LeaseTold) -> dict[str, str]:
    headers = {"x-ms-lease-status": lease.status, "x-ms-lease-state": str(lease.state)}
    return headers | ({"x-ms-lease-duration": lease.duration} if lease.duration else {})


def lease_properties(lease: LeaseTold) -> dict[str, str]:
    """Elements of an entry in a listing and their text."""
    names = {"LeaseStatus": lease.status, "LeaseState": str(lease.state)}
    return names | ({"LeaseDuration": lease.duration} if lease.duration else {})


def list_head(request: ListRequest) -> str:
    return (
        optional("Prefix", request.prefix)
        + optional("Marker", request.marker)
        + optional("MaxResults", request.max_results)
        + optional("Delimiter", request.delimiter)
    )


def error_document(
    code: str, message: str, request_id: str, at: datetime, detail: Mapping[str, str]
) -> bytes:
    text = f"{message}\nRequestId:{request_id}\nTime:{at:%Y-%m-%dT%H:%M:%S.%f}0Z"
    extra = "".join(element(name, value) for name, value in detail.items())
    return f"{DECLARATION}<Error>{element('Code', code)}{element('Message', text)}{extra}</Error>".encode()


def containers_document(
    request: ListRequest, plural: str, entries: Iterable[ContainerEntry], next_marker: str
) -> bytes:
    """`plural` is Containers or Shares; an entry is named by its singular."""
    single = plural.removesuffix("s")
    body = "".join(
        f"<{single}>{element('Name', entry.name)}{optional('Snapshot', entry.snapshot)}"
        + (f"<Deleted>true</Deleted>{element('Version', entry.version)}" if entry.version else "")
        + "<Properties>"
        + "".join(element(name, text) for name, text in entry.properties.items())
        + f"</Properties>{metadata_element(entry.metadata)}</{single}>"
        for entry in entries
    )
    root = f"<EnumerationResults {attribute('ServiceEndpoint', request.endpoint)}>"
    text = (
        f"{DECLARATION}{root}{list_head(request)}<{plural}>{body}</{plural}>"
        f"{element('NextMarker', next_marker)}</EnumerationResults>"
    )
    return text.encode()


def policies_document(policies: Iterable[Policy]) -> bytes:
    body = "".join(
        f"<SignedIdentifier>{element('Id', policy.id)}{_access_policy(policy)}</SignedIdentifier>"
        for policy in policies
    )
    return f"{DECLARATION}<SignedIdentifiers>{body}</SignedIdentifiers>".encode()


# --- reading


def parse(body: bytes, root: str) -> Element:
    try:
        found: Element = fromstring(body)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # the last: an encoding
        raise MalformedXmlError(str(error)) from None
    if found.tag != root:
        raise MalformedXmlError(f"the document element is {found.tag!r}, not {root!r}")
    return found


def _access_policy(policy: Policy) -> str:
    """Nothing for an entry that is an id only."""
    fields = (
        optional("Start", policy.start)
        + optional("Expiry", policy.expiry)
        + optional("Permission", policy.permission)
    )
    return f"<AccessPolicy>{fields}</AccessPolicy>" if fields else ""


def parse_policies(body: bytes) -> list[Policy]:
    if not body.strip():
        return []
    policies = []
    for entry in parse(body, "SignedIdentifiers").findall("SignedIdentifier"):
        fields = {
            name: entry.findtext(f"AccessPolicy/{name}") or "" for name in ("Start", "Expiry", "Permission")
        }
        policies.append(
            Policy(entry.findtext("Id") or "", fields["Start"], fields["Expiry"], fields["Permission"])
        )
    return policies
