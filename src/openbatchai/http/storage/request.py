"""Reading the headers and parameters that calls of both storage services share."""

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.ranges import RangeHeader, decimal, parse_range
from openbatchai.dataplane.records import ContentHeaders
from openbatchai.dataplane.snapshottimes import is_snapshot_time
from openbatchai.dataplane.tags import parse_condition
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.target import Headers
from openbatchai.wire.storage_xml import ListRequest, parse_http_date

_META = "x-ms-meta-"
_METADATA_BYTES = 8 << 10
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HEX_GUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GUID = re.compile(rf"{_HEX_GUID}|\{{{_HEX_GUID}\}}|\({_HEX_GUID}\)|[0-9a-f]{{32}}", re.IGNORECASE | re.ASCII)
_VERSION = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
DEFAULT_VERSION = "2016-05-31"
NEWEST_VERSION = "2026-10-06"

# Asking for these changes what a call means, so ignoring them would be worse than refusing.
_UNSUPPORTED_HEADERS = {
    StorageService.BLOB: re.compile(
        r"x-ms-(?:source-|)encryption-|x-ms-(?:immutability-|legal-hold|rename-source|expiry-|previous-)"
    ),
    StorageService.FILE: re.compile(
        r"x-ms-(?:encryption-|if-tags|tags|immutability-|legal-hold|rename-source|expiry-)"
    ),
}
_UNSUPPORTED_PARAMETERS = {
    StorageService.BLOB: ("versionid", "deletetype"),
    StorageService.FILE: (),
}


def requested_version(
    headers: Mapping[str, str], query: Mapping[str, str], default: str = DEFAULT_VERSION
) -> str:
    """Any well-formed version is taken and given back, one newer than we know as the newest we know; a SAS
    without the header has its own."""
    version = headers.get("x-ms-version") or query.get("sv") or default
    if not _VERSION.fullmatch(version):
        raise StorageError(
            StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-version", "HeaderValue": version}
        )
    return min(version, NEWEST_VERSION)


def refuse_unsupported(service: StorageService, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
    unsupported = _UNSUPPORTED_HEADERS[service]
    for name in headers:
        if unsupported.match(name):
            raise StorageError(StorageCode.UNSUPPORTED_HEADER, detail={"HeaderName": name})
    for name in _UNSUPPORTED_PARAMETERS[service]:
        if query.get(name):
            raise StorageError(StorageCode.UNSUPPORTED_QUERY, detail={"QueryParameterName": name})


def check_snapshot(ref: ItemRef, method: str, comp: str) -> None:
    """400 unless a snapshot of a blob is named by a time, and read, deleted, or given tags or a tier."""
    if not ref.snapshot or ref.service is not StorageService.BLOB:
        return
    suits = method in ("GET", "HEAD", "DELETE") or comp in ("tags", "tier")
    if not ref.path or not suits or not is_snapshot_time(ref.snapshot):
        raise StorageError(
            StorageCode.INVALID_QUERY,
            detail={"QueryParameterName": "snapshot", "QueryParameterValue": ref.snapshot},
        )


def conditions_of(headers: Mapping[str, str], prefix: str = "") -> Conditions:
    """`prefix` stands before the names of the standard headers: the calls about tags have their own."""
    return Conditions(
        if_match=headers.get(f"{prefix}if-match"),
        if_none_match=headers.get(f"{prefix}if-none-match"),
        if_modified_since=_date(headers, f"{prefix}if-modified-since"),
        if_unmodified_since=_date(headers, f"{prefix}if-unmodified-since"),
        lease_id=lease_of(headers),
        if_tags=_tag_condition(headers),
    )


def lease_of(headers: Mapping[str, str]) -> str | None:
    """The lease that a request names; of a file or directory this is the only condition there is."""
    return guid_header(headers, "x-ms-lease-id")


def guid_header(headers: Mapping[str, str], name: str) -> str | None:
    """A lease id in the one form that is stored and compared; .NET's other forms of a GUID are taken too."""
    text = headers.get(name)
    if not text:
        return None
    found = _GUID.fullmatch(text)
    if found is None:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": text})
    return str(uuid.UUID(found[0].strip("{}()")))


def _tag_condition(headers: Mapping[str, str]) -> str | None:
    condition = headers.get("x-ms-if-tags")
    if condition is not None:
        parse_condition(condition)
    return condition


def _date(headers: Mapping[str, str], name: str) -> datetime | None:
    text = headers.get(name)
    if text is None:
        return None
    moment = parse_http_date(text)
    if moment is None:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": text})
    return moment


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The metadata a request sets, names in the letters they came in. They are identifiers as of C#: a
    listing makes them names of XML elements.

    Raises StorageError: EmptyMetadataKey, InvalidMetadata, MetadataTooLarge.
    """
    spelled = headers.spelled if isinstance(headers, Headers) else {}
    metadata = {
        spelled.get(name, name)[len(_META) :]: value
        for name, value in headers.items()
        if name.startswith(_META)
    }
    return check_metadata(metadata)


def check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata, if it can be some. Raises as metadata_of() does."""
    if "" in metadata:
        raise StorageError(StorageCode.EMPTY_METADATA_KEY)
    if not all(map(_IDENTIFIER.fullmatch, metadata)):
        raise StorageError(StorageCode.INVALID_METADATA)
    if sum(len(name) + len(value) for name, value in metadata.items()) > _METADATA_BYTES:
        raise StorageError(StorageCode.METADATA_TOO_LARGE)
    return metadata


def content_of(headers: Mapping[str, str], prefix: str, *, standard: bool) -> ContentHeaders:
    """`x-ms-[blob-]content-*` headers; with `standard` the plain ones count where those are absent."""

    def value(name: str) -> str:
        own = headers.get(f"{prefix}{name}")
        return own if own is not None else headers.get(name, "") if standard else ""

    return ContentHeaders(
        type=value("content-type"),
        encoding=value("content-encoding"),
        language=value("content-language"),
        disposition=value("content-disposition"),
        cache_control=value("cache-control"),
    )


def md5_header(headers: Mapping[str, str], name: str) -> str:
    """An MD5 that a body is held against."""
    return _base64_header(headers, name, lambda size: size == 16)


def kept_md5(headers: Mapping[str, str], name: str) -> str:
    """An MD5 that is only kept with the content and given back: nobody looks at how long it is."""
    return _base64_header(headers, name, lambda size: True)


def _base64_header(headers: Mapping[str, str], name: str, fits: Callable[[int], bool]) -> str:
    text = headers.get(name, "")
    try:
        valid = not text or fits(len(base64.b64decode(text, validate=True)))
    except (ValueError, binascii.Error):
        valid = False
    if not valid:
        raise StorageError(StorageCode.INVALID_MD5, detail={"HeaderName": name, "HeaderValue": text})
    return text


def range_of(headers: Mapping[str, str]) -> RangeHeader | None:
    """x-ms-range wins over Range: browsers and proxies may add the latter."""
    return parse_range(headers.get("x-ms-range", headers.get("range")))


def size_header(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    size = decimal(text)
    if size is None:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": text})
    return size


def required_size(headers: Mapping[str, str], name: str) -> int:
    size = size_header(headers, name)
    if size is None:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": name})
    return size


def page_limit(query: Mapping[str, str], most: int) -> int:
    text = query.get("maxresults", "")
    if not text:
        return most
    limit = decimal(text)
    if limit is None:
        raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "maxresults"})
    if limit < 1:
        raise StorageError(StorageCode.QUERY_OUT_OF_RANGE, detail={"QueryParameterName": "maxresults"})
    return min(limit, most)


def list_request(exchange: Exchange) -> ListRequest:
    query = exchange.query
    return ListRequest(
        endpoint=exchange.target.endpoint,
        prefix=query.get("prefix"),
        marker=query.get("marker"),
        max_results=query.get("maxresults"),
        delimiter=query.get("delimiter"),
        version=exchange.version,
    )


def includes(query: Mapping[str, str]) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in query.get("include", "").split(",") if part.strip())
